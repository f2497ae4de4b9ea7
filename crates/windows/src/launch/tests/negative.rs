//! The negative rung: where tokens are not restricted, nothing may be started, and the reason is that.

use ringfence_backend::windows::runner::{Event, Refusal};
use ringfence_plan::windows::launch::Identity;
use ringfence_plan::windows::sids::SidShape;

use super::roles::{self, Role};
use super::{account, begin, opening, start, this_program};
use crate::launch::engine::Engine;
use crate::launch::session::{Account, OpenError, Order, Runner, Session};
use crate::sys::job::{Job, JobLimits, NOT_KEPT};
use crate::sys::logon::Logon;
use crate::sys::protect::Secret;
use crate::sys::token::AccessToken;

/// Whether this system restricts tokens when it says so. On one that does, these tests have nothing to refuse.
fn restricts() -> bool {
    let own = AccessToken::for_launching().unwrap();
    let target = super::super::target::TargetToken::new(
        own,
        &opening(Identity::Person).launch,
        opening(Identity::Person).session,
    );
    target.unwrap().make().is_ok()
}

#[test]
fn not_enforced_a_session_in_this_process_is_refused() {
    if restricts() {
        return;
    }
    let console = this_program();
    let refused = Session::here(opening(Identity::Person), &console, None).unwrap_err();
    assert!(refused.is_not_enforced(), "{refused:?}");
    // The control: the same opening, nothing demanded.
    let opened = Session::here_with(None, |sink| {
        let plumbing = super::super::engine::Demand::Plumbing;
        Engine::open_as(
            opening(Identity::Person),
            roles::console_host(),
            sink,
            plumbing,
        )
    });
    assert!(opened.is_ok());
}

#[test]
fn not_enforced_a_session_with_a_runner_is_refused_by_it() {
    if restricts() {
        return;
    }
    let runner = roles::runner(Role::StrictRunner, &[]);
    let refused = Session::through(runner, opening(account()), None).unwrap_err();
    let OpenError::Refused(refusal) = &refused else {
        panic!("{refused:?}");
    };
    // The runner protects itself first, and wine keeps none of that either.
    assert!(
        matches!(refusal, Refusal::NotEnforced(_) | Refusal::Call(_)),
        "{refusal:?}"
    );
}

#[test]
fn not_enforced_the_whole_way_into_a_session_ends_in_that_refusal() {
    if restricts() {
        return;
    }
    let launch = opening(Identity::Person).launch;
    let (program, stubs) = (this_program(), stubs_directory());
    let refused = Session::open(&Order {
        launch: &launch,
        person: super::person(),
        shape: SidShape::Null,
        roots: &[],
        stay: &[],
        runner: &program,
        account: Account::Person { stubs: &stubs },
    })
    .unwrap_err();
    let _ = std::fs::remove_dir_all(&stubs);
    assert!(refused.is_not_enforced(), "{refused:?}");
}

#[test]
fn not_enforced_a_logon_that_makes_nobody_starts_nothing() {
    let launch = opening(account()).launch;
    let program = this_program();
    let password = Secret::new(b"no such account".to_vec());
    let logon = Logon {
        user: "RingfenceOff-NOBODY",
        password: &password,
    };
    let order = Order {
        launch: &launch,
        person: super::person(),
        shape: SidShape::Null,
        roots: &[],
        stay: &[],
        runner: &program,
        account: Account::Sandbox(logon),
    };
    let refused = Runner::start(&order, logon, r"station\desktop").unwrap_err();
    assert!(matches!(refused, OpenError::Start { .. }), "{refused:?}");
}

fn stubs_directory() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("ringfence-way-{}", std::process::id()))
}

#[test]
fn not_enforced_a_limit_that_is_not_there_when_read_back_is_no_limit() {
    let limits = JobLimits {
        processes: Some(8),
        ..JobLimits::default()
    };
    match Job::new(limits) {
        // A system that keeps it.
        Ok(job) => assert_eq!(job.active_processes().unwrap(), 0),
        Err(error) => assert_eq!(error.error, NOT_KEPT),
    }
    // The control: it can be made.
    assert!(Job::unread(limits).is_ok());
}

#[test]
fn not_enforced_a_request_before_the_session_is_opened_starts_nothing() {
    let mut runner = roles::runner(Role::Runner, &[]);
    let inbox = std::sync::Arc::new(crate::launch::session::Inbox::new().unwrap());
    runner.read_into(&inbox);
    let close = ringfence_backend::windows::runner::Request::Close;
    runner.send(&close).unwrap();
    let taken = inbox.take(Some(super::PATIENCE));
    assert!(
        matches!(
            taken,
            crate::launch::session::Taken::Event(Event::Refused(Refusal::OutOfOrder))
        ),
        "{taken:?}"
    );
}

#[test]
fn not_enforced_a_second_opening_ends_the_session() {
    let mut session = super::through_a_runner();
    let _reader = begin(&mut session, start(1, Role::Sleep));
    assert!(matches!(super::next(&mut session), Event::Started { .. }));
    session.send_again(opening(account()));
    loop {
        match session.receive(Some(super::PATIENCE)) {
            Ok(Some(Event::Refused(Refusal::OutOfOrder) | Event::Ended { .. })) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) => break,
        }
    }
}
