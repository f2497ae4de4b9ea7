//! One case and one answer: do they agree, and what was counted.
//!
//! Invariant: every case is counted once, as agreed, as silent where silence was foreseen, or as a disagreement.

use std::collections::BTreeMap;
use std::fmt;

use ringfence_nt::check::{check_pass, maximum_of_pass};
use ringfence_nt::{
    Access, AccessMask, Denial, DenialCause, GenericMapping, GroupState, Pass, Privileges,
    Restriction, SecurityDescriptor, Sid, Token, access_check,
};

use super::generate::Case;
use super::question::{Answer, AnsweredPass, Dump, unhex};

/// How many disagreements are kept with their words.
const KEPT: usize = 10;

const FILE: GenericMapping = GenericMapping::FILE;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Questions.
    pub asked: u64,
    /// Answers that are the model's in every part.
    pub agreed: u64,
    /// Of these, granted.
    pub granted: u64,
    /// Of these, denied by the second pass alone.
    pub denied_by_second_pass: u64,
    /// Of these, with the descriptor's packing compared too.
    pub packed: u64,
    /// Questions to which the oracle was foreseen to have no answer, and had none, by its reason.
    pub silent: BTreeMap<&'static str, u64>,
    /// Answers that differ.
    pub disagreed: u64,
    /// The first of them.
    pub disagreements: Vec<Disagreement>,
}

/// A question on which the model and the oracle differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Which case.
    pub index: u64,
    /// In which part, and what each says.
    pub difference: String,
    /// The case.
    pub case: Case,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            descriptor,
            token,
            desired,
            class,
        } = &self.case;
        writeln!(formatter, "case {}: {}", self.index, self.difference)?;
        writeln!(
            formatter,
            "  {} asked for {desired} under {class:?}",
            descriptor.to_sddl()
        )?;
        write!(formatter, "  {token:?}")
    }
}

impl Tally {
    /// Adds one answer.
    pub(super) fn add(&mut self, index: u64, case: &Case, answer: &Answer) {
        self.asked += 1;
        match compare(case, answer) {
            Ok(Agreement::Silent(reason)) => *self.silent.entry(reason).or_default() += 1,
            Ok(Agreement::Decided(access)) => {
                self.agreed += 1;
                self.granted += u64::from(access.is_granted());
                let by_second =
                    matches!(access, Access::Denied(denial) if denial.pass == Pass::Restricting);
                self.denied_by_second_pass += u64::from(by_second);
                self.packed += u64::from(answer.sd.is_some());
            }
            Err(difference) => {
                self.disagreed += 1;
                if self.disagreements.len() < KEPT {
                    self.disagreements.push(Disagreement {
                        index,
                        difference,
                        case: case.clone(),
                    });
                }
            }
        }
    }

    /// Adds what another run came to.
    pub fn merge(&mut self, other: Self) {
        self.asked += other.asked;
        self.agreed += other.agreed;
        self.granted += other.granted;
        self.denied_by_second_pass += other.denied_by_second_pass;
        self.packed += other.packed;
        for (reason, count) in other.silent {
            *self.silent.entry(reason).or_default() += count;
        }
        self.disagreed += other.disagreed;
        self.disagreements.extend(other.disagreements);
        self.disagreements.truncate(KEPT);
    }

    /// How many questions got no answer, as foreseen.
    #[must_use]
    pub fn silent_in_all(&self) -> u64 {
        self.silent.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} asked, {} agreed ({} granted, {} denied by the second pass alone, {} with their packing), \
             {} without an answer as foreseen",
            self.asked,
            self.agreed,
            self.granted,
            self.denied_by_second_pass,
            self.packed,
            self.silent_in_all(),
        )?;
        for (reason, count) in &self.silent {
            write!(formatter, " [{reason} {count}]")?;
        }
        write!(formatter, ", {} disagreed", self.disagreed)
    }
}

enum Agreement {
    Silent(&'static str),
    Decided(Access),
}

/// What the model says, in the oracle's terms.
struct Expected {
    access: Access,
    first: AnsweredPass,
    second: Option<AnsweredPass>,
}

fn compare(case: &Case, answer: &Answer) -> Result<Agreement, String> {
    if let Some(error) = &answer.error {
        return Err(format!("the oracle calls the question malformed: {error}"));
    }
    if let Some(dump) = &answer.sd {
        compare_packing(&case.descriptor, dump)?;
    }
    match (foreseen_silence(case), &answer.unsupported) {
        (Some(reason), Some(given)) if reason == given => return Ok(Agreement::Silent(reason)),
        (None, None) => {}
        (reason, given) => return Err(format!("silence: foreseen {reason:?}, oracle {given:?}")),
    }
    let expected = Expected::of(case);
    differ("first pass", &Some(&expected.first), &answer.pass1.as_ref())?;
    differ(
        "second pass",
        &expected.second.as_ref(),
        &answer.pass2.as_ref(),
    )?;
    differ(
        "allowed",
        &Some(expected.access.is_granted()),
        &answer.allowed,
    )?;
    let granted = u64::from(expected.access.granted().0);
    differ("granted", &Some(granted), &answer.granted)?;
    Ok(Agreement::Decided(expected.access))
}

fn differ<T: PartialEq + fmt::Debug>(part: &str, model: &T, oracle: &T) -> Result<(), String> {
    if model == oracle {
        Ok(())
    } else {
        Err(format!("{part}: model {model:x?}, oracle {oracle:x?}"))
    }
}

/// Samba's packing and the oracle's text must both mean the descriptor that was asked about.
fn compare_packing(descriptor: &SecurityDescriptor, dump: &Dump) -> Result<(), String> {
    let bytes = unhex(&dump.hex).ok_or("the packing is no hexadecimal text")?;
    let packed = SecurityDescriptor::from_bytes(&bytes)
        .map_err(|error| format!("packing: the model can't read it {error}"))?;
    let text = SecurityDescriptor::from_sddl(&dump.sddl)
        .map_err(|error| format!("text: the model can't read it {error}"))?;
    differ("packing", descriptor, &packed)?;
    differ("text", descriptor, &text)
}

impl Expected {
    fn of(case: &Case) -> Self {
        let Case {
            descriptor,
            token,
            desired,
            class,
        } = case;
        let desired = FILE.map(*desired);
        let access = access_check(descriptor, token, desired, &FILE, *class);
        let first = pass(descriptor, token, Pass::Normal, desired);
        let covered = match token.restriction {
            Restriction::None => None,
            Restriction::All(_) => Some(desired),
            Restriction::Writes(_) if desired == AccessMask::MAXIMUM_ALLOWED => Some(desired),
            Restriction::Writes(_) => Some(class.second_pass(desired, &FILE)),
        };
        let second = covered.map(|covered| {
            let decided = if covered.is_empty() {
                answered(0, "SKIPPED")
            } else {
                pass(descriptor, token, Pass::Restricting, covered)
            };
            AnsweredPass {
                desired: Some(u64::from(covered.0)),
                ..decided
            }
        });
        Self {
            access,
            first,
            second,
        }
    }
}

/// One pass in the oracle's terms.
fn pass(
    descriptor: &SecurityDescriptor,
    token: &Token,
    pass: Pass,
    desired: AccessMask,
) -> AnsweredPass {
    if desired == AccessMask::MAXIMUM_ALLOWED {
        return answered(maximum_of_pass(descriptor, token, pass, &FILE).0, "SUCCESS");
    }
    match check_pass(descriptor, token, pass, desired, &FILE) {
        Ok(()) => answered(desired.0, "SUCCESS"),
        Err(Denial {
            cause: DenialCause::Privilege,
            ..
        }) => answered(0, "PRIVILEGE_NOT_HELD"),
        Err(_) => answered(0, "ACCESS_DENIED"),
    }
}

fn answered(granted: u32, status: &str) -> AnsweredPass {
    AnsweredPass {
        desired: None,
        granted: u64::from(granted),
        status: status.to_owned(),
    }
}

/// The oracle's reason for having no answer to this case, in the order in which it looks for one.
fn foreseen_silence(case: &Case) -> Option<&'static str> {
    let Case {
        descriptor,
        token,
        desired,
        class,
    } = case;
    let desired = FILE.map(*desired);
    if desired.is_empty() {
        return Some("desired-zero");
    }
    descriptor.acl().map_or(Some("null-dacl"), |_| {
        let maximum = desired == AccessMask::MAXIMUM_ALLOWED;
        if token.privileges.contains(Privileges::RELABEL)
            && (maximum || desired.contains(AccessMask::WRITE_OWNER))
        {
            return Some("privilege-relabel");
        }
        if owner_is_deny_only(descriptor, token) && owner_matters(descriptor, token, desired) {
            return Some("deny-only-owner");
        }
        let nothing =
            maximum && !access_check(descriptor, token, desired, &FILE, *class).is_granted();
        nothing.then_some("maximum-allowed-nothing")
    })
}

fn owner_is_deny_only(descriptor: &SecurityDescriptor, token: &Token) -> bool {
    let is_owner = |sid: Sid| descriptor.owner == Some(sid);
    (is_owner(token.user) && token.user_state == GroupState::DenyOnly)
        || token
            .groups
            .iter()
            .any(|group| is_owner(group.sid) && group.state == GroupState::DenyOnly)
}

/// Whether the first pass comes to something else when nobody is the owner.
fn owner_matters(descriptor: &SecurityDescriptor, token: &Token, desired: AccessMask) -> bool {
    let ownerless = SecurityDescriptor {
        owner: Some(Sid::NULL),
        ..descriptor.clone()
    };
    pass(descriptor, token, Pass::Normal, desired) != pass(&ownerless, token, Pass::Normal, desired)
}
