//! Gathers the facts that a plan depends on.
//!
//! Reads the file system, `/proc`, and variables (`PATH`, `XDG_RUNTIME_DIR`, those that say where caches are); changes
//! nothing but the scan's cache in our own state directory, decides nothing, asks no network and no name service.
//! Every path below a root is an attacker's: directories are opened relative to a descriptor, without following links.
//!
//! Invariant: what could not be looked at is in the facts or in the error, never taken for absent.

mod caches;
mod cgroup;
mod error;
mod git;
mod hidden;
mod host;
mod mounts;
mod names;
mod network;
mod place;
mod resolve;
mod root;
mod scan;

use std::path::{Path, PathBuf};

use ringfence_plan::git::{Root, references};
use ringfence_plan::linux::directories_to_list;
use ringfence_plan::linux::facts::{
    CandidateRoot, GitReference, LinuxFacts, Listing, RootFacts, UserNamespaces,
};
use ringfence_policy::{AbsolutePath, Policy};

pub use error::ObserveError;
use resolve::Resolved;

#[cfg(test)]
mod tests;

/// Gathers the facts of this host for `policy`.
///
/// # Errors
/// [`ObserveError`], naming the object that could not be read.
pub fn observe(policy: &Policy) -> Result<LinuxFacts, ObserveError> {
    gather(policy, host::probe_user_namespaces())
}

/// Gathers the facts of this host for `policy`, for a plan without namespaces: they were refused by `cause`.
///
/// # Errors
/// [`ObserveError`], naming the object that could not be read.
pub fn observe_without_namespaces(
    policy: &Policy,
    cause: String,
) -> Result<LinuxFacts, ObserveError> {
    gather(policy, host::refused_namespaces(cause))
}

/// What decides whether `directory` can be a writable root beside those of `policy`; nothing in any of them is looked at.
///
/// # Errors
/// [`ObserveError`], naming the object that could not be read.
pub fn observe_root(
    policy: &Policy,
    directory: &AbsolutePath,
) -> Result<CandidateRoot, ObserveError> {
    let mounts = mounts::read()?;
    let home = resolve::resolve(policy.home.as_path())?;
    let state = resolve::resolve(policy.state.as_path())?;
    let root = root::named(directory)?.0;
    let forbidden = place::forbidden(&home, &state, std::slice::from_ref(&root), &mounts)?;
    let roots = root::of_policy(policy).map(|named| Ok(root::named(named)?.0));
    Ok(CandidateRoot {
        roots: roots.collect::<Result<_, ObserveError>>()?,
        root,
        forbidden,
        state: state.absolute()?,
    })
}

/// Where `path` leads, as far as it exists, and the links on the way by their own places.
///
/// # Errors
/// [`ObserveError`]: not for what is absent or may not be seen.
pub fn follow(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), ObserveError> {
    let resolved = resolve::resolve(path)?;
    Ok((resolved.path, resolved.links))
}

/// Lists what a plan by Landlock alone has to grant piecemeal.
///
/// A policy that makes no plan needs no listings: the planner says why.
fn listings(policy: &Policy, facts: &LinuxFacts) -> Result<Vec<Listing>, ObserveError> {
    let mut listings = Vec::new();
    let devices = AbsolutePath::new("/dev").ok();
    let directories = directories_to_list(policy, facts).unwrap_or_default();
    for path in directories.into_iter().chain(devices) {
        listings.push(root::listing(path)?);
    }
    Ok(listings)
}

/// What git configuration leads to in the roots.
fn git_references(
    policy: &Policy,
    home: &Resolved,
    roots: &[RootFacts],
) -> Result<Vec<GitReference>, ObserveError> {
    let roots: Vec<_> = roots
        .iter()
        .map(|root| Root {
            top: root.object.as_ref().map(|object| &object.path),
            anchors: &root.anchors,
            bare: &root.bare,
        })
        .collect();
    let global = git::global_files(&home.path);
    references(&mut git::Seen, policy, &home.absolute()?, &global, &roots)
}

fn gather(policy: &Policy, namespaces: UserNamespaces) -> Result<LinuxFacts, ObserveError> {
    let mounts = mounts::read()?;
    let home = resolve::resolve(policy.home.as_path())?;
    let state = resolve::resolve(policy.state.as_path())?;
    let roots = root::observe_all(policy, &mounts, &state)?;
    let forbidden = place::forbidden(&home, &state, &roots.facts, &mounts)?;
    let places = place::observe()?;
    let needed = place::observe_needed(&places)?;
    let git_references = git_references(policy, &home, &roots.facts)?;
    let hidden = hidden::observe(policy, &home, roots.matches)?;
    let mut facts = LinuxFacts {
        kernel: host::kernel_release(),
        landlock_abi: crate::landlock::probe_abi(),
        seccomp: host::probe_seccomp(&namespaces),
        user_namespaces: namespaces,
        proc_mount: mounts.proc_mount(),
        caller: host::caller()?,
        home: home.object(),
        forbidden,
        state: state.absolute()?,
        places,
        needed,
        roots: roots.facts,
        hidden,
        git_references,
        cgroups: cgroup::observe(policy, &mounts),
        network: network::observe(policy)?,
        sockets: network::sockets(policy)?,
        listings: Vec::new(),
        caches: caches::observe(policy, &home, &mounts)?,
        overlay: caches::probe_overlay(&state),
    };
    match facts.user_namespaces {
        UserNamespaces::Available => {}
        UserNamespaces::Refused { .. } => facts.listings = listings(policy, &facts)?,
    }
    Ok(facts)
}
