//! The planner's network filters in each form, against every token that a target or anybody else can come with.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test ends where its input is not what it says"
)]

use ringfence_nt::{GroupState, Sid, Token, WriteClass};
use ringfence_plan::windows::filters::{FilterForm, filters_of, sublayer};
use ringfence_plan::windows::machine::Subject;
use ringfence_plan::windows::step::{Condition, Filter, FilterAction, Layer, PortRange, Trustee};
use ringfence_policy::document::Loopback;
use ringfence_windows_model::carry::runner_token;
use ringfence_windows_model::figures::record;
use ringfence_windows_model::network::{
    Attempt, Endpoint, Hypothesis, Installed, Peer, Protocol, Verdict, verdict,
};
use ringfence_windows_model::observe::Seat;
use ringfence_windows_model::scene::{Scene, harness};

const FORMS: [FilterForm; 3] = [
    FilterForm::Named,
    FilterForm::Complement,
    FilterForm::ComplementWithoutAnonymous,
];
const PROXY: PortRange = PortRange {
    first: 20_000,
    last: 20_031,
};
const DYNAMIC: PortRange = PortRange {
    first: 49_152,
    last: 65_535,
};

/// Who makes an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// What runs as ann's Offline account, target or runner.
    Offline,
    /// What runs as bob's.
    BobsOffline,
    /// A copy of a target's token in which the account is deny-only.
    DenyOnly,
    /// An anonymous token that a target's thread took; on some machines one that counts to Everyone.
    Anonymous,
    /// Anybody else.
    Other,
}

/// Two people with a set-up each, and the tokens there.
struct Cast {
    ann: Seat,
    bob: Seat,
    marker: Sid,
    bobs_marker: Sid,
    tokens: Vec<(String, Who, Token)>,
}

fn cast() -> Cast {
    let mut scene = Scene::new(WriteClass::H2);
    let (ann, bob) = (scene.ann.clone(), scene.bob.clone());
    scene.host.directory(&ann.path("ws"), ann.sid);
    scene.host.directory(&bob.path("ws"), bob.sid);
    let own = scene.start(&ann, &ann.path("ws"), "").unwrap();
    let theirs = scene.start(&bob, &bob.path("ws"), "").unwrap();
    let open = scene.plan(&ann, &ann.path("ws"), "[network]\nmode = \"open\"\n");
    let open = open.unwrap();
    let runner = runner_token(&open.accounts.sids().unwrap(), ann.online, own.logon);
    let online = open
        .launch
        .unwrap()
        .token
        .target(&runner, own.sid, own.logon);
    let mut deny_only = own.target.clone();
    deny_only.user_state = GroupState::DenyOnly;
    let anonymous = Token::new(Sid::ANONYMOUS, &[]);
    let counted = Token::new(Sid::ANONYMOUS, &[Sid::EVERYONE]);
    let system = Token::new(Sid::SYSTEM, &[Sid::EVERYONE, Sid::ADMINISTRATORS]);
    let tokens = [
        ("ann's target", Who::Offline, own.target),
        ("ann's runner", Who::Offline, own.runner),
        ("bob's target", Who::BobsOffline, theirs.target),
        ("a deny-only copy", Who::DenyOnly, deny_only),
        ("an anonymous copy", Who::Anonymous, anonymous),
        ("an anonymous copy in Everyone", Who::Anonymous, counted),
        ("ann's target with the open network", Who::Other, online),
        ("ann", Who::Other, harness(&ann)),
        ("bob", Who::Other, harness(&bob)),
        ("SYSTEM", Who::Other, system),
    ];
    Cast {
        tokens: tokens
            .map(|(name, who, token)| (name.to_owned(), who, token))
            .into(),
        ann,
        bob,
        marker: own.plan.marker,
        bobs_marker: theirs.plan.marker,
    }
}

fn installed(seat: &Seat, marker: Sid, form: FilterForm) -> Installed {
    let subject = Subject {
        person: seat.sid,
        name: seat.name.to_owned(),
        program_data: ringfence_plan::windows::WindowsPath::parse("C:\\ProgramData").unwrap(),
        marker,
        proxy: PROXY,
        dynamic: DYNAMIC,
        loopback: Loopback::Dynamic,
        form,
    };
    Installed {
        accounts: ringfence_plan::windows::step::AccountSids {
            offline: seat.offline,
            online: seat.online,
            group: seat.group,
        },
        filters: filters_of(&subject),
    }
}

impl Cast {
    fn set_ups(&self, own: FilterForm, theirs: FilterForm) -> [Installed; 2] {
        [
            installed(&self.ann, self.marker, own),
            installed(&self.bob, self.bobs_marker, theirs),
        ]
    }
}

/// One attempt of each kind.
fn attempts() -> Vec<Attempt> {
    let mut all = Vec::new();
    for peer in [Peer::Loopback, Peer::Elsewhere] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in [
                53,
                443,
                PROXY.first,
                PROXY.last,
                DYNAMIC.first,
                DYNAMIC.last,
            ] {
                for endpoint in [Endpoint::Ordinary, Endpoint::Raw, Endpoint::Promiscuous] {
                    for layer in [
                        Layer::ConnectV4,
                        Layer::ConnectV6,
                        Layer::AcceptV4,
                        Layer::AcceptV6,
                        Layer::AssignmentV4,
                        Layer::AssignmentV6,
                    ] {
                        all.push(Attempt {
                            layer,
                            peer,
                            protocol,
                            port,
                            endpoint,
                        });
                    }
                }
            }
        }
    }
    all
}

/// What an Offline account may do.
fn allowed(attempt: Attempt) -> bool {
    let is_in = |range: PortRange| (range.first..=range.last).contains(&attempt.port);
    let to_proxy = is_in(PROXY) && attempt.protocol == Protocol::Tcp;
    match attempt.layer {
        Layer::ConnectV4 | Layer::ConnectV6 => {
            attempt.peer == Peer::Loopback && (to_proxy || is_in(DYNAMIC))
        }
        Layer::AcceptV4 | Layer::AcceptV6 => attempt.peer == Peer::Loopback,
        Layer::AssignmentV4 | Layer::AssignmentV6 => attempt.endpoint == Endpoint::Ordinary,
    }
}

/// Whether filters of this form hold copies of this kind.
const fn holds(form: FilterForm, who: Who) -> bool {
    match (who, form) {
        (Who::Offline | Who::BobsOffline, _)
        | (Who::DenyOnly, FilterForm::Complement | FilterForm::ComplementWithoutAnonymous)
        | (Who::Anonymous, FilterForm::ComplementWithoutAnonymous) => true,
        (Who::DenyOnly | Who::Anonymous | Who::Other, _) => false,
    }
}

/// Everything that is not as it should be: what gets out, and what is blocked that must not be.
fn wrong(cast: &Cast, set_ups: &[Installed], form: FilterForm) -> Option<String> {
    let attempts = attempts();
    for hypothesis in Hypothesis::all() {
        for (name, who, token) in &cast.tokens {
            for attempt in attempts.iter().copied() {
                let found = verdict(set_ups, token, attempt, hypothesis);
                let expected = match who {
                    Who::Offline | Who::BobsOffline if allowed(attempt) => Verdict::Permitted,
                    // More may be closed to a copy than to the account, never less.
                    Who::DenyOnly | Who::Anonymous if !holds(form, *who) || allowed(attempt) => {
                        continue;
                    }
                    Who::Offline | Who::BobsOffline | Who::DenyOnly | Who::Anonymous => {
                        Verdict::Blocked
                    }
                    Who::Other => Verdict::Permitted,
                };
                if found != expected {
                    return Some(format!("{name}, {attempt:?}, {hypothesis:?}: {found:?}"));
                }
            }
        }
    }
    None
}

#[test]
fn each_form_holds_the_account_and_nobody_else() {
    let cast = cast();
    for own in FORMS {
        // Without an anonymous permit of bob's, anonymous callers are closed for ann's form too.
        for theirs in [FilterForm::Named, FilterForm::Complement] {
            let set_ups = cast.set_ups(own, theirs);
            assert_eq!(
                wrong(&cast, &set_ups, own),
                None,
                "{own:?} beside {theirs:?}"
            );
        }
    }
    let cases = FORMS.len() * 2 * attempts().len() * cast.tokens.len() * Hypothesis::all().count();
    record(&[
        "property",
        "network filters hold the account alone",
        &cases.to_string(),
    ]);
}

/// The copies that a target needs no right for, tried at each form.
#[test]
fn copies_escape_the_forms_that_do_not_name_what_they_lack() {
    let cast = cast();
    let out = Attempt {
        layer: Layer::ConnectV4,
        peer: Peer::Elsewhere,
        protocol: Protocol::Tcp,
        port: 443,
        endpoint: Endpoint::Ordinary,
    };
    for form in FORMS {
        let set_ups = [installed(&cast.ann, cast.marker, form)];
        for hypothesis in Hypothesis::all() {
            for (name, who, token) in &cast.tokens {
                let found = verdict(&set_ups, token, out, hypothesis);
                let expected = match who {
                    Who::Offline => Verdict::Blocked,
                    Who::DenyOnly | Who::Anonymous if holds(form, *who) => Verdict::Blocked,
                    Who::DenyOnly | Who::Anonymous | Who::BobsOffline | Who::Other => {
                        Verdict::Permitted
                    }
                };
                assert_eq!(found, expected, "{name} at {form:?} under {hypothesis:?}");
            }
        }
    }
}

/// Ways to get the filters wrong, of one person.
fn broken(filters: &[Filter]) -> Vec<(String, Vec<Filter>)> {
    let mut all = Vec::new();
    for (index, left_out) in filters.iter().enumerate() {
        let mut rest = filters.to_vec();
        rest.remove(index);
        let name = format!("{:?} {} left out", left_out.layer, left_out.name);
        all.push((name, rest));
    }
    let mut each = |name: &str, change: &dyn Fn(&mut Filter)| {
        let mut changed = filters.to_vec();
        changed.iter_mut().for_each(change);
        if changed != filters {
            all.push((name.to_owned(), changed));
        }
    };
    each("weights exchanged", &|filter| {
        filter.weight = 15 - filter.weight;
    });
    each("blocks permit", &|filter| {
        filter.action = FilterAction::Permit;
    });
    each("one sublayer for all people", &|filter| {
        filter.sublayer = sublayer(Sid::SYSTEM);
    });
    let condition = |from: fn(&Condition) -> bool, to: Condition| {
        move |filter: &mut Filter| {
            let found = filter.conditions.iter_mut().filter(|one| from(one));
            found.for_each(|one| *one = to);
        }
    };
    let names = |one: &Condition| matches!(one, Condition::UserOr(..));
    let not = |one: &Condition| {
        matches!(
            one,
            Condition::NotUser(_) | Condition::NotUserNorAnonymous(_)
        )
    };
    each(
        "filters name the group",
        &condition(names, Condition::User(Trustee::Group)),
    );
    each(
        "filters name Everyone",
        &condition(names, Condition::User(Trustee::Sid(Sid::EVERYONE))),
    );
    each(
        "the account is not denied",
        &condition(not, Condition::User(Trustee::Sid(Sid::EVERYONE))),
    );
    each("no loopback is asked for", &|filter| {
        filter.conditions.retain(|one| *one != Condition::Loopback);
    });
    each("no protocol is asked for", &|filter| {
        filter.conditions.retain(|one| *one != Condition::Tcp);
    });
    each("no raw endpoint is asked for", &|filter| {
        filter
            .conditions
            .retain(|one| *one != Condition::RawEndpoint);
    });
    each("no promiscuous endpoint is asked for", &|filter| {
        filter
            .conditions
            .retain(|one| *one != Condition::Promiscuous);
    });
    all
}

#[test]
fn every_mutant_of_the_filters_is_killed() {
    let cast = cast();
    let mut survivors = Vec::new();
    let mut tried = 0;
    for form in FORMS {
        let [own, theirs] = cast.set_ups(form, FilterForm::Complement);
        let whole = broken(&own.filters);
        for (name, filters) in whole {
            let own = Installed {
                filters,
                ..own.clone()
            };
            let theirs = if name.starts_with("one sublayer") {
                let mut shared = theirs.clone();
                for filter in &mut shared.filters {
                    filter.sublayer = sublayer(Sid::SYSTEM);
                }
                shared
            } else {
                theirs.clone()
            };
            let name = format!("network filters, {form:?}: {name}");
            tried += 1;
            if let Some(by) = wrong(&cast, &[own, theirs], form) {
                record(&["mutant", &name, "killed", &by]);
            } else {
                record(&["mutant", &name, "survived", ""]);
                survivors.push(name);
            }
        }
    }
    assert!(tried > 50, "{tried}");
    assert!(survivors.is_empty(), "survived: {survivors:?}");
}
