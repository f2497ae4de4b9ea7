//! Where a session's proxy listens, and what a Windows plan says of a network that it can't hold.

use ringfence_plan::Level;
use ringfence_plan::windows::egress::ProxyPorts;
use ringfence_plan::windows::launch::{Identity, Network};
use ringfence_plan::windows::plan;
use ringfence_plan::windows::step::{AccountRole, Condition, MachineStep};
use ringfence_plan::windows::{PlanError, WindowsPlan};

use crate::world::{POLICY, policy, ready, stored};

fn planned(more: &str) -> WindowsPlan {
    let (facts, ledger) = ready();
    plan(&policy(&format!("{POLICY}{more}"), &facts), &facts, &ledger).expect("a plan")
}

fn whats(plan: &WindowsPlan) -> Vec<&str> {
    plan.missing.iter().map(|one| one.what.as_str()).collect()
}

#[test]
fn a_session_that_nothing_may_leave_has_no_proxy_and_others_have_the_ports_that_filters_leave_open()
{
    let proxy = |more: &str| planned(more).launch.expect("a launch").proxy;
    assert_eq!(proxy(""), None);
    let allowed = proxy("[network]\nmode = \"allowlist\"\nallow = [\"example.com\"]\n");
    let Some(ProxyPorts::Reserved(ports)) = allowed else {
        panic!("{allowed:?}");
    };
    assert_eq!(
        proxy("[network]\nconnect = [\"127.0.0.1:5432\"]\n"),
        allowed
    );
    // A machine before its set-up: what is planned for the filters is what sessions will use.
    let (facts, ledger) = stored();
    let before = plan(&policy(POLICY, &facts), &facts, &ledger).expect("a plan");
    let open = before.machine_steps.iter().any(|step| match step {
        MachineStep::InstallFilters { filters } => filters.iter().any(|filter| {
            let named = Condition::RemotePorts(ports);
            filter.conditions.contains(&named)
        }),
        _ => false,
    });
    assert!(open, "{ports:?}");
}

#[test]
fn the_open_mode_runs_as_the_online_account_and_says_what_that_does_not_hold() {
    let open = planned("[network]\nmode = \"open\"\n");
    let launch = open.launch.as_ref().expect("a launch");
    assert_eq!(launch.identity, Identity::Account(AccountRole::Online));
    assert_eq!(launch.network, Network::Open);
    assert!(matches!(launch.proxy, Some(ProxyPorts::Reserved(_))));
    assert!(
        open.notes
            .iter()
            .any(|note| note.contains("direct on Windows"))
    );
    assert!(!whats(&open).contains(&"network"), "nothing is denied");
    let denied = planned("[network]\nmode = \"open\"\ndeny = [\"example.com\"]\n");
    assert!(whats(&denied).contains(&"network"), "{:?}", denied.missing);
    // The control: the account that reaches nothing but the proxy holds the same rule.
    let listed =
        "[network]\nmode = \"allowlist\"\nallow = [\"**.example.com\"]\ndeny = [\"example.com\"]\n";
    assert!(!whats(&planned(listed)).contains(&"network"));
}

#[test]
fn where_requests_are_limited_git_reads_the_file_of_certificates_that_it_is_told_of() {
    let backend = |more: &str| {
        let environment = planned(more).launch.expect("a launch").environment;
        let value = |name: &str| environment.iter().find(|(one, _)| one == name);
        let (_, count) = value("GIT_CONFIG_COUNT").expect("settings");
        let count: usize = count.parse().expect("a number");
        (0..count).any(|index| {
            let (key, value) = [("KEY", "http.sslBackend"), ("VALUE", "openssl")]
                .map(|(part, wanted)| {
                    value(&format!("GIT_CONFIG_{part}_{index}")).is_some_and(|one| one.1 == wanted)
                })
                .into();
            key && value
        })
    };
    let allow = |rule: &str| format!("[network]\nmode = \"allowlist\"\nallow = [{rule}]\n");
    assert!(backend(&allow(
        "{ host = \"example.com\", methods = [\"GET\"] }"
    )));
    assert!(!backend(&allow("\"example.com\"")));
}

#[test]
fn servers_of_this_machine_and_unix_sockets_are_said_to_be_out_of_reach() {
    let more = "[network]\nmode = \"allowlist\"\nallow = [\"example.com\"]\n";
    assert_eq!(whats(&planned(more)), Vec::<&str>::new());
    let connect = format!("{more}connect = [\"127.0.0.1:5432\"]\n");
    assert_eq!(whats(&planned(&connect)), ["connect"]);
}

#[test]
fn in_same_user_mode_a_proxy_takes_the_place_of_what_discourages() {
    let discouraged = |more: &str| {
        let plan = planned(&format!("{more}[windows]\nsandbox = \"unelevated\"\n"));
        let launch = plan.launch.expect("a launch");
        let closed = launch
            .environment
            .iter()
            .any(|(name, _)| name == "PIP_NO_INDEX");
        (closed, launch.proxy)
    };
    assert_eq!(discouraged(""), (true, None));
    let allowed = "[network]\nmode = \"allowlist\"\nallow = [\"example.com\"]\n";
    assert_eq!(discouraged(allowed), (false, Some(ProxyPorts::Any)));
}

#[test]
fn same_user_mode_says_what_it_lacks_in_every_mode_and_is_refused_where_all_is_required() {
    const SAID: &str = "network: advisory, secrets: readable";
    let (facts, ledger) = ready();
    for (top, mode) in [
        ("", ""),
        ("mode = \"read-only\"\n", ""),
        (
            "",
            "[network]\nmode = \"allowlist\"\nallow = [\"example.com\"]\n",
        ),
        ("", "[network]\nmode = \"open\"\n"),
    ] {
        let of = |more: &str| {
            let text = format!("{more}{top}{POLICY}{mode}[windows]\nsandbox = \"unelevated\"\n");
            plan(&policy(&text, &facts), &facts, &ledger)
        };
        let planned = of("").expect("a plan");
        assert!(whats(&planned).contains(&SAID), "{mode}");
        assert_eq!(planned.level, Level::Partial);
        assert!(planned.render_text().contains(SAID));
        let refused = of("require = \"full\"\n");
        assert!(
            matches!(refused, Err(PlanError::RequireFull { .. })),
            "{mode}: {refused:?}"
        );
    }
    // The control: with accounts nothing of the kind is said, and all may be required.
    let required = plan(
        &policy(&format!("require = \"full\"\n{POLICY}"), &facts),
        &facts,
        &ledger,
    );
    assert!(whats(&required.expect("a plan")).is_empty());
}
