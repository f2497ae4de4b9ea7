//! What the Windows boundary costs to decide and to plan; it needs no Windows.
//!
//! One access check of the model, and one plan for a stored host whose workspace has a hundred protected paths.
//! Invariant: what is planned has those paths in it, or the row has no value.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, Group, Restriction, SecurityDescriptor, Sid,
    Token, WriteClass, access_check,
};
use ringfence_plan::facts::HostFacts;
use ringfence_plan::layout::{Entry, NameFact};
use ringfence_plan::windows::facts::{ObjectFact, WindowsFacts};
use ringfence_plan::windows::{WindowsLedger, WindowsPath, WindowsPlan, plan};
use ringfence_policy::Policy;
use ringfence_policy::layers::{Layer, LayerKind, Trust, resolve};

use crate::arguments::Arguments;
use crate::samples::Samples;
use crate::table::{Goal, Row, Unit};

const HOST: &str = include_str!("../../../tests/golden/cases/windows-plain/facts.json");
const LEDGER: &str = include_str!("../../../tests/golden/cases/windows-plain/ledger.json");
const PROTECTED: usize = 100;
const ENTRIES: u32 = 20;
/// Checks in one sample: the clock is too coarse for one.
const BATCH: u32 = 10_000;

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Vec<Row> {
    vec![check_row(arguments), plan_row(arguments)]
}

fn check_row(arguments: &Arguments) -> Row {
    let what = "Windows: one access check, both passes";
    let (descriptor, token) = question();
    let file = GenericMapping::FILE;
    let times = (0..arguments.repetitions(200, 5)).map(|_| {
        let started = Instant::now();
        for _ in 0..BATCH {
            let desired = black_box(AccessMask::FILE_MODIFY);
            black_box(access_check(
                black_box(&descriptor),
                black_box(&token),
                desired,
                &file,
                WriteClass::H2,
            ));
        }
        started.elapsed() / BATCH
    });
    let median = Samples::new(times.collect()).map(|samples| samples.median());
    let groups = token.groups.len();
    let detail = format!(
        "{ENTRIES} entries, {groups} groups, {} restricting SIDs; granted by the last entries",
        token.restriction.sids().len()
    );
    let value = median.map(|median| median.as_secs_f64() * 1e6);
    Row::new(what, Unit::Microseconds, Goal::AtMost(1.0), value, detail)
}

/// A file in a workspace, as a target sees it: every entry is looked at in both passes.
fn question() -> (SecurityDescriptor, Token) {
    let own = |relative| Sid::new(5, &[21, 1, 2, 3, relative]).unwrap_or(Sid::NULL);
    let (user, group, capability) = (own(1001), own(1100), own(9000));
    let mut aces: Vec<Ace> = (0..ENTRIES - 2)
        .map(|other| {
            Ace::allow(
                AceFlags::INHERITED,
                AccessMask::FILE_MODIFY,
                own(2000 + other),
            )
        })
        .collect();
    for sid in [group, capability] {
        aces.push(Ace::allow(
            AceFlags::INHERITED,
            AccessMask::FILE_MODIFY,
            sid,
        ));
    }
    let known = [
        Sid::EVERYONE,
        Sid::USERS,
        Sid::INTERACTIVE,
        Sid::AUTHENTICATED_USERS,
        Sid::LOCAL,
        group,
    ];
    let restricting = vec![
        own(9001),
        own(9002),
        user,
        Sid::WRITE_RESTRICTED,
        capability,
    ];
    let token = Token {
        groups: known.map(Group::enabled).to_vec(),
        restriction: Restriction::Writes(restricting),
        ..Token::new(user, &[])
    };
    (
        SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(aces)),
        token,
    )
}

fn plan_row(arguments: &Arguments) -> Row {
    let what = format!("Windows: plan with {PROTECTED} protected paths");
    let goal = Goal::AtMost(5.0);
    match time_plans(arguments.repetitions(100, 3)) {
        Ok((samples, plan)) => {
            let detail = format!(
                "{} steps, {} objects held",
                plan.machine_steps.len() + plan.person_steps.len(),
                plan.held.len()
            );
            let median = samples.median().as_secs_f64() * 1e3;
            Row::new(&what, Unit::Milliseconds, goal, Some(median), detail)
        }
        Err(why) => Row::failed(&what, Unit::Milliseconds, goal, why),
    }
}

fn time_plans(repetitions: usize) -> Result<(Samples, WindowsPlan), String> {
    let facts = facts()?;
    let policy = policy(&facts)?;
    let ledger: WindowsLedger = serde_json::from_str(LEDGER).map_err(|error| error.to_string())?;
    let make = || plan(&policy, &facts, &ledger).map_err(|error| error.to_string());
    let first = make()?;
    if first.held.len() < PROTECTED {
        return Err(format!("only {} objects are held", first.held.len()));
    }
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..repetitions {
        let started = Instant::now();
        black_box(make()?);
        times.push(started.elapsed());
    }
    let samples = Samples::new(times).ok_or("nothing was measured")?;
    Ok((samples, first))
}

fn name(index: usize) -> String {
    format!("locked-{index:03}")
}

/// The stored host, with a hundred directories more in its workspace.
fn facts() -> Result<WindowsFacts, String> {
    let HostFacts::Windows(mut facts) =
        serde_json::from_str(HOST).map_err(|error| error.to_string())?
    else {
        return Err("the stored host is no Windows host".to_owned());
    };
    let model = facts
        .objects
        .iter()
        .find(|fact| fact.object.path.to_string().ends_with("\\.vscode"))
        .cloned()
        .ok_or("the stored host has no .vscode")?;
    for index in 0..PROTECTED {
        facts.objects.push(another(&model, index)?);
    }
    // Every repository of every root is looked at for each name; they exist at the workspace's top alone.
    let anchors = facts.roots.iter_mut().flat_map(|root| &mut root.anchors);
    for (number, anchor) in anchors.enumerate() {
        anchor.names.extend((0..PROTECTED).map(|index| NameFact {
            name: name(index),
            entry: if number == 0 {
                Entry::Directory
            } else {
                Entry::Absent
            },
        }));
    }
    Ok(facts)
}

fn another(model: &ObjectFact, index: usize) -> Result<ObjectFact, String> {
    let mut fact = model.clone();
    let path = fact
        .object
        .path
        .to_string()
        .replace(".vscode", &name(index));
    fact.object.path = WindowsPath::parse(&path).map_err(|error| error.to_string())?;
    fact.object.id.file += 1 + u128::try_from(index).unwrap_or(0) + (1 << 100);
    Ok(fact)
}

fn policy(facts: &WindowsFacts) -> Result<Policy, String> {
    let names: Vec<String> = (0..PROTECTED)
        .map(|index| format!("'{}'", name(index)))
        .collect();
    let text = format!(
        "[filesystem]\nwritable_roots = ['D:\\scratch']\nprotected = [{}]\n",
        names.join(", ")
    );
    let layer = Layer::from_file(
        LayerKind::User,
        "policy.toml",
        text.as_bytes(),
        Trust::Trusted,
    )
    .map_err(|error| format!("{error:?}"))?;
    let context = facts.policy_context().map_err(|error| error.to_string())?;
    resolve(&[layer], &context).map_err(|error| format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_granted_and_planned() {
        let (descriptor, token) = question();
        let file = GenericMapping::FILE;
        let desired = AccessMask::FILE_MODIFY;
        let access = access_check(&descriptor, &token, desired, &file, WriteClass::H2);
        assert!(access.is_granted());
        let (_, plan) = time_plans(1).unwrap();
        assert!(plan.held.len() >= PROTECTED);
    }
}
