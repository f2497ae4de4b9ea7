//! `ringfence plan`: what would be done to a machine, and nothing done.
//!
//! With stored facts nothing of this machine is looked at but the files that are named: the plan is the same on
//! every operating system.

use std::path::{Path, PathBuf};

use ringfence::platform::{self, PlanOptions};
use ringfence_plan::facts::LinuxFacts;
use ringfence_plan::{HostFacts, Plan as Steps};
use ringfence_policy::layers::{Context, Layer, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_policy::{AbsolutePath, ExitCode, LayerKind, Policy, parse};

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
    #[error("plans for Windows machines are not printed yet")]
    Windows,
}

/// Prints the plan for this machine, or for the one that a file describes.
pub(crate) fn run(options: &Plan) -> Result<u8, Failure> {
    let plan = if let Some(path) = &options.host_facts {
        plan_for_stored(options, path)?
    } else {
        let policy = context::load(&options.policy)?.loaded.policy;
        platform::plan(
            &policy,
            PlanOptions {
                observe: options.observe,
            },
        )?
    };
    if options.json {
        output::json(&plan)?;
    } else {
        output::data(&plan.render_text())?;
    }
    Ok(0)
}

fn plan_for_stored(options: &Plan, path: &Path) -> Result<Steps, Failure> {
    let facts = serde_json::from_slice(&read(path)?).map_err(|source| {
        let path = path.to_owned();
        Failure::new(ExitCode::Usage, StoredError::Parse { path, source })
            .with_hint("facts are one JSON object: {\"linux\": {...}}")
    })?;
    let HostFacts::Linux(linux) = &facts else {
        return Err(Failure::new(ExitCode::Usage, StoredError::Windows));
    };
    let policy = policy_for(&options.policy, linux)?;
    let planning = PlanOptions {
        observe: options.observe,
    };
    Ok(platform::plan_for(&policy, &facts, planning)?)
}

/// The policy of the command line and of `--config`, seen from the machine of the facts.
fn policy_for(options: &PolicyOptions, facts: &LinuxFacts) -> Result<Policy, Failure> {
    let incomplete = |what| Failure::new(ExitCode::Usage, StoredError::Incomplete(what));
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
    let state: AbsolutePath = facts.state.clone();
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
    Ok(resolve(
        &layers,
        &Context {
            home,
            workspace,
            state,
            platform: Platform::Linux,
        },
    )?)
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
