//! Who was refused: the process inside the session, by its own number and program.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::egress::{Visit, ways, words};
use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "egress.callers",
    promise: "a refusal by any way in names the process that tried, in the record and in the report, and its name writes nothing",
    needs: Needs::Internet,
    run: callers,
}];

const ALLOWED: &str = "allowed.example.com";
const REFUSED: &str = "other.example.net";
/// Clears the screen of whoever prints it as it is.
const HOSTILE: &str = "\u{1b}[2Jcaller";

/// Says which process it is, then becomes the program.
const SCRIPT: &str = "echo $$ > caller.pid; exec ./\"$0\" \"$@\"";

/// Runs a script, and fails: refusals are reported then.
const FAILING: &str = "script=$1; shift; /bin/sh -c \"$script\" \"$@\"; exit 1";

fn callers(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let options = ["--network", "allowlist", "--allow-host", ALLOWED];
    let visit = Visit::new(ground, &options)?;
    let program = visit.fixture.workspace.join(HOSTILE);
    fs::copy(&ground.probe, &program).context(|| "copying the probe".to_owned())?;
    let mut refused = ways(REFUSED);
    refused.extend(ways("93.184.216.35"));
    refused.push(words(&["banner", "93.184.216.35", "22"]));
    visit.controls(ground, checks, &refused)?;
    for attack in &refused {
        let tried = try_once(&visit, ground, attack)?;
        let name = attack.join(" ");
        checks.that(
            &format!("{name}: refused"),
            !tried.denied.is_empty(),
            || format!("nothing was: {:?}", visit.events()),
        );
        let own = BTreeSet::from([tried.own.clone()]);
        checks.same(&format!("{name}: the process"), &tried.denied, &own);
        let said = format!("caller (pid {})", tried.own.0);
        checks.that(
            &format!("{name}: the report"),
            tried.said.contains(&said) && !tried.said.contains('\u{1b}'),
            || format!("{:?}", tried.said),
        );
    }
    for attack in &ways(ALLOWED) {
        let tried = try_once(&visit, ground, attack)?;
        let name = attack.join(" ");
        checks.same(&name, &tried.denied, &BTreeSet::new());
        let named: Vec<Value> = visit
            .events()
            .into_iter()
            .filter(|event| event.get("process").is_some() && is_of_the_way_out(event))
            .collect();
        checks.same(&format!("{name}: nobody is searched"), &named, &Vec::new());
    }
    Ok(())
}

/// The C library asks by a Unix socket for the name first, which is refused.
fn is_of_the_way_out(event: &Value) -> bool {
    event["rule"] != "net.unix-socket"
}

/// One attack in a session of its own.
struct Tried {
    /// The process that it was, and its program as the record must have it.
    own: (u64, String),
    /// The processes of all refusals; a number of 0 for one without.
    denied: BTreeSet<(u64, String)>,
    said: String,
}

fn try_once(visit: &Visit, ground: &Ground, attack: &[String]) -> Result<Tried, Failure> {
    let events = visit.fixture.top().join("events.jsonl");
    let _ = fs::remove_file(&events);
    let mut command = words(&["/bin/sh", "-c", FAILING, "sh", SCRIPT, HOSTILE]);
    command.extend(attack.iter().cloned());
    let finished = visit
        .launch(ground)
        .options(visit.options())
        .options(&["--events", &events.to_string_lossy()])
        .inside(&command)?;
    let pid = fs::read_to_string(visit.fixture.workspace.join("caller.pid"));
    let pid = pid.context(|| "reading of the process's number".to_owned())?;
    let program = visit.fixture.workspace.join(HOSTILE);
    let program = program.to_string_lossy().replace('\u{1b}', "\\u{1b}");
    let denied = visit.events().into_iter();
    let denied = denied.filter(|event| event["verdict"] == "deny" && is_of_the_way_out(event));
    Ok(Tried {
        own: (pid.trim().parse().unwrap_or(0), program),
        denied: denied
            .map(|event| {
                let id = event.pointer("/process/id").and_then(Value::as_u64);
                let program = event.pointer("/process/program").and_then(Value::as_str);
                (id.unwrap_or(0), program.unwrap_or_default().to_owned())
            })
            .collect(),
        said: finished.said(),
    })
}
