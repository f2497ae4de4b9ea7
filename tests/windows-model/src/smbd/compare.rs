//! What the server said beside what the model said.
//!
//! Invariant: every step of a stage is compared, up to the first difference.

use std::collections::BTreeMap;
use std::fmt;

use ringfence_nt::fs::{Caller, FileSystem, NodeId};
use ringfence_nt::{AccessMask, Token, WriteClass};

use super::cast::Player;
use super::run::Served;
use super::stage::{Stage, kept};
use super::step::{Act, Outcome, PROBED, Step, probe};

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Scenes that were compared to their end.
    pub stages: u64,
    /// Steps on which both sides agree.
    pub steps: u64,
    /// Of these, refused by both.
    pub refused: u64,
    /// Of these, refused by both with another status.
    pub other_status: BTreeMap<String, u64>,
    /// Rights that were opened one by one, with the same answer.
    pub rights: u64,
    /// Rights of restricted tokens, put together by hand, with the model's answer under some hypothesis.
    pub by_hand: u64,
    /// Such rights on which the two users' answers do not decide.
    pub undecided: u64,
    /// Descriptors that are the same on both sides at the end.
    pub descriptors: u64,
    /// Differences; each ends its stage.
    pub differences: Vec<Difference>,
}

/// A step on which the two sides differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The stage.
    pub stage: String,
    /// The step, and what each side says.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.stage, self.what)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} stages, {} steps agreed ({} refused, {} of them with another status), {} rights one by one, \
             {} rights of two passes by hand ({} undecided), {} descriptors, {} differences",
            self.stages,
            self.steps,
            self.refused,
            self.other_status.values().sum::<u64>(),
            self.rights,
            self.by_hand,
            self.undecided,
            self.descriptors,
            self.differences.len(),
        )
    }
}

/// A step with what the model said to it.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) step: Step,
    pub(super) outcome: Outcome,
}

impl Tally {
    /// Compares a stage: `script` with the server's answers, `end` being the model's tree after it.
    pub(super) fn add(
        &mut self,
        stage: &Stage,
        script: &[Played],
        end: &FileSystem,
        served: &[Served],
    ) {
        match self.compare(stage, script, end, served) {
            Ok(()) => self.stages += 1,
            Err(what) => self.differences.push(Difference {
                stage: stage.name.clone(),
                what,
            }),
        }
    }

    fn compare(
        &mut self,
        stage: &Stage,
        script: &[Played],
        end: &FileSystem,
        served: &[Served],
    ) -> Result<(), String> {
        if script.len() != served.len() {
            return Err(format!("{} steps, {} answers", script.len(), served.len()));
        }
        for (number, (played, answer)) in script.iter().zip(served).enumerate() {
            let Played { step, outcome } = played;
            let said = |what: String| {
                let path = &step.path;
                format!("step {number}, {:?} {:?} {path}: {what}", step.by, step.act)
            };
            self.compare_step(stage, played, answer).map_err(said)?;
            if matches!(step.act, Act::Look) && outcome.status == "OK" {
                compare_descriptor(stage, end, step, answer).map_err(said)?;
                self.descriptors += 1;
            }
        }
        self.compare_by_hand(stage, script, served)
    }

    fn compare_step(
        &mut self,
        stage: &Stage,
        played: &Played,
        answer: &Served,
    ) -> Result<(), String> {
        let Outcome { status, rights } = &played.outcome;
        let refused = [status, &answer.status].map(|status| status != "OK");
        if refused == [true, true] {
            self.refused += 1;
            if *status != answer.status {
                let pair = format!("model {status}, server {}", answer.status);
                *self.other_status.entry(pair).or_default() += 1;
            }
        } else if *status != answer.status {
            let mut said = format!("model {status}, server {}", answer.status);
            said.push_str(&lists_of(stage, &played.step.path));
            if let Act::Rename(to) = &played.step.act {
                said.push_str(&lists_of(stage, to));
            }
            return Err(said);
        }
        if let Some(rights) = rights {
            let found = answer.rights();
            if found != Some(*rights) {
                let lists = lists_of(stage, &played.step.path);
                return Err(format!("model {rights}, server {found:?}{lists}"));
            }
            self.rights += u64::from(PROBED.0.count_ones());
        }
        self.steps += 1;
        Ok(())
    }

    /// Puts the two passes together from the probes at the start, before anything has changed.
    fn compare_by_hand(
        &mut self,
        stage: &Stage,
        script: &[Played],
        served: &[Served],
    ) -> Result<(), String> {
        let mut found: BTreeMap<&str, [Option<AccessMask>; 2]> = BTreeMap::new();
        let opening = script
            .iter()
            .zip(served)
            .take_while(|(played, _)| matches!(played.step.act, Act::Probe));
        for (played, answer) in opening {
            let slots = found.entry(&played.step.path).or_default();
            match played.step.by {
                Player::Target => slots[0] = answer.rights(),
                Player::Second => slots[1] = answer.rights(),
                Player::Person | Player::Root => {}
            }
        }
        let token = &stage.restricted;
        let start = stage.model();
        for (path, passes) in &found {
            let [Some(first), Some(second)] = *passes else {
                continue;
            };
            let above = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parent = match found.get(above) {
                Some([Some(first), Some(second)]) if !path.is_empty() => [*first, *second],
                Some(_) | None => [AccessMask::NONE; 2],
            };
            let hand = ByHand {
                object: [first, second],
                parent,
            };
            let place = Stage::objects(&start)
                .into_iter()
                .find(|(known, _)| known == path);
            let node = place.and_then(|(_, id)| start.node(id));
            if node.is_some_and(|node| stage.cast.is_target(node.descriptor.owner)) {
                self.undecided += u64::from(PROBED.0.count_ones());
                continue;
            }
            self.compare_rights(&start, token, path, &hand)?;
        }
        Ok(())
    }

    fn compare_rights(
        &mut self,
        start: &FileSystem,
        token: &Token,
        path: &str,
        hand: &ByHand,
    ) -> Result<(), String> {
        for class in WriteClass::ALL {
            let covered = class.rights(&ringfence_nt::GenericMapping::FILE);
            let model = probe(start, &Caller { token, class }, path);
            for right in PROBED.bits() {
                match hand.decides(right, covered) {
                    None => self.undecided += 1,
                    Some(granted) if granted == model.contains(right) => self.by_hand += 1,
                    Some(granted) => {
                        return Err(format!(
                            "{path}, {right} under {class:?}: by hand {granted}, model {model}; passes {:?}",
                            hand.object
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What each user may do to an object and to its directory.
struct ByHand {
    object: [AccessMask; 2],
    parent: [AccessMask; 2],
}

impl ByHand {
    /// Whether a token with both passes may, if what the users may decides it.
    ///
    /// A directory that lets its children be deleted gives DELETE; where it gives that to one of the users, that user's
    /// answer for the object does not tell what the object itself grants.
    fn decides(&self, right: AccessMask, covered: AccessMask) -> Option<bool> {
        let both = |masks: [AccessMask; 2], right: AccessMask| {
            let [first, second] = masks.map(|mask| mask.contains(right));
            first && (second || !covered.contains(right))
        };
        if right != AccessMask::DELETE {
            return Some(both(self.object, right));
        }
        let from_parent = AccessMask::FILE_DELETE_CHILD;
        if both(self.parent, from_parent) {
            return Some(true);
        }
        if !both(self.object, right) {
            return Some(false);
        }
        let hidden = self.parent.iter().any(|mask| mask.contains(from_parent));
        (!hidden).then_some(true)
    }
}

fn compare_descriptor(
    stage: &Stage,
    end: &FileSystem,
    step: &Step,
    answer: &Served,
) -> Result<(), String> {
    let objects = Stage::objects(end);
    let id: Option<NodeId> = objects
        .iter()
        .find(|(path, _)| *path == step.path)
        .map(|(_, id)| *id);
    let node = id
        .and_then(|id| end.node(id))
        .ok_or("the model has no such object")?;
    let text = answer.text().unwrap_or_default();
    let found = stage.cast.read(text)?;
    let model = &node.descriptor;
    let same = found.owner == model.owner
        && found.group == model.group
        && kept(&found.dacl) == kept(&model.dacl);
    if same {
        Ok(())
    } else {
        Err(format!(
            "model {}, server {}",
            model.to_sddl(),
            found.to_sddl()
        ))
    }
}

/// The descriptors at the start of the object and of its directory, for a message.
fn lists_of(stage: &Stage, path: &str) -> String {
    let objects = Stage::objects(&stage.fs);
    let above = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let text = |wanted: &str| {
        let found = objects.iter().find(|(path, _)| path == wanted);
        let node = found.and_then(|(_, id)| stage.fs.node(*id));
        node.map_or_else(String::new, |node| stage.cast.render(&node.descriptor))
    };
    format!("; at the start {} in {}", text(path), text(above))
}
