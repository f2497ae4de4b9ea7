//! `ringfence plan`: what would be done to a machine, and nothing done.
//!
//! With stored facts nothing of this machine is looked at but the files that are named: the plan is the same on
//! every operating system.

use std::path::{Path, PathBuf};

use ringfence::platform::{self, PlanOptions};
use ringfence_plan::facts::{LinuxFacts, WindowsFacts};
use ringfence_plan::windows::{WindowsLedger, WindowsPlan};
use ringfence_plan::{HostFacts, Plan as Steps};
use ringfence_policy::layers::{Context, Layer, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, ExitCode, LayerKind, Policy, parse};

use serde::Serialize;

use crate::cli::{Plan, PolicyOptions};
use crate::failure::Failure;
use crate::{context, layer, output};

/// Stored facts, or the file of `--config`, can't be used.
#[derive(Debug, thiserror::Error)]
enum StoredError {
    #[error("`{path}` can't be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` holds no host facts")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the host facts name no {0}")]
    Incomplete(&'static str),
    #[error("`{path}` holds no ledger")]
    Ledger {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// Prints the plan for this machine, or for the one that a file describes.
pub(crate) fn run(options: &Plan) -> Result<u8, Failure> {
    if let Some(path) = &options.host_facts {
        return stored(options, path);
    }
    let policy = context::load(&options.policy)?.loaded.policy;
    if options.facts {
        output::json(&platform::observe(&policy)?)?;
        return Ok(0);
    }
    let planning = PlanOptions {
        observe: options.observe,
    };
    let plan = platform::plan(&policy, planning)?;
    match &plan.windows {
        Some(windows) => print(options, &**windows, WindowsPlan::render_text),
        None => print(options, &plan, Steps::render_text),
    }
}

fn print<P: Serialize>(options: &Plan, plan: &P, text: fn(&P) -> String) -> Result<u8, Failure> {
    if options.json {
        output::json(plan)?;
    } else {
        output::data(&text(plan))?;
    }
    Ok(0)
}

fn stored(options: &Plan, path: &Path) -> Result<u8, Failure> {
    let facts: HostFacts = serde_json::from_slice(&read(path)?).map_err(|source| {
        let path = path.to_owned();
        Failure::new(ExitCode::Usage, StoredError::Parse { path, source })
            .with_hint("facts are one JSON object: {\"linux\": {...}} or {\"windows\": {...}}")
    })?;
    match &facts {
        HostFacts::Linux(linux) => {
            let policy = policy_for(&options.policy, &linux_context(&options.policy, linux)?)?;
            let planning = PlanOptions {
                observe: options.observe,
            };
            let plan = platform::plan_for(&policy, &facts, &WindowsLedger::default(), planning)?;
            print(options, &plan, Steps::render_text)
        }
        HostFacts::Windows(windows) => {
            let policy = policy_for(&options.policy, &windows_context(&options.policy, windows)?)?;
            let plan = ringfence_plan::windows::plan(&policy, windows, &ledger(options)?).map_err(
                |error| {
                    let hint = error.hints().join("\n");
                    Failure::new(error.exit_code(), error).with_hint(hint)
                },
            )?;
            print(options, &plan, WindowsPlan::render_text)
        }
    }
}

fn ledger(options: &Plan) -> Result<WindowsLedger, Failure> {
    let Some(path) = &options.ledger else {
        return Ok(WindowsLedger::default());
    };
    serde_json::from_slice(&read(path)?).map_err(|source| {
        let path = path.to_owned();
        Failure::new(ExitCode::Usage, StoredError::Ledger { path, source })
            .with_hint("a ledger is one JSON object: {\"secret\": \"64 digits\", \"machine\": [...], \"person\": [...]}")
    })
}

fn incomplete(what: &'static str) -> Failure {
    Failure::new(ExitCode::Usage, StoredError::Incomplete(what))
}

fn linux_context(options: &PolicyOptions, facts: &LinuxFacts) -> Result<Context, Failure> {
    let workspace = match &options.workspace {
        Some(path) => context::absolute(path.clone())?,
        None => facts
            .roots
            .first()
            .map(|root| root.named.clone())
            .ok_or_else(|| incomplete("workspace"))?,
    };
    let home = facts
        .home
        .as_ref()
        .map(|home| home.path.clone())
        .ok_or_else(|| incomplete("home"))?;
    Ok(Context {
        home,
        workspace,
        state: facts.state.clone(),
        platform: Platform::Linux,
    })
}

fn windows_context(options: &PolicyOptions, facts: &WindowsFacts) -> Result<Context, Failure> {
    let mut context = facts
        .policy_context()
        .map_err(|_| incomplete("workspace"))?;
    if let Some(path) = &options.workspace {
        let text = path.to_string_lossy();
        context.workspace =
            AbsolutePath::of_windows(&text).map_err(|_| incomplete("workspace of this name"))?;
    }
    Ok(context)
}

/// The policy of the command line and of `--config`, seen from the machine of the facts.
fn policy_for(options: &PolicyOptions, context: &Context) -> Result<Policy, Failure> {
    let mut layers = vec![Layer {
        kind: LayerKind::CommandLine,
        source: "command line".to_owned(),
        document: layer::document(options),
        trust: Trust::Untrusted,
        text: None,
    }];
    if let Some(path) = &options.config {
        let source = path.display().to_string();
        let bytes = read(path)?;
        let document = parse::parse(&source, &bytes)?;
        let text = Some(String::from_utf8_lossy(&bytes).into_owned());
        layers.push(Layer {
            kind: LayerKind::User,
            source,
            document,
            trust: Trust::Untrusted,
            text,
        });
    }
    Ok(resolve(&layers, context)?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| {
        Failure::new(
            ExitCode::Usage,
            StoredError::Read {
                path: path.to_owned(),
                source,
            },
        )
    })
}
