//! The words of a policy to typed values: paths, names, patterns, addresses, variables.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::{Context, ResolveFault};
use crate::escape::escape;
use crate::glob::Glob;
use crate::host::{Host, parse_port};
use crate::path::AbsolutePath;
use crate::policy::HiddenPattern;
use crate::secrets::Platform;

fn shown(text: &str) -> String {
    escape(text.as_bytes()).into_owned()
}

/// An absolute path, or one below `~`.
pub(crate) fn path(text: &str, context: &Context) -> Result<AbsolutePath, ResolveFault> {
    let bad = |error: crate::path::PathError| ResolveFault::BadPath {
        path: shown(text),
        reason: shown(&error.to_string()),
    };
    if text == "~" {
        return Ok(context.home.clone());
    }
    let slashes = match context.platform {
        Platform::Windows if text.starts_with('~') => Cow::Owned(text.replace('\\', "/")),
        Platform::Windows | Platform::Linux | Platform::MacOs => Cow::Borrowed(text),
    };
    if let Some(below) = slashes.strip_prefix("~/") {
        // `~//etc` is not `/etc`: joining an absolute path would replace the home.
        return context
            .home
            .join(below.trim_start_matches('/'))
            .map_err(bad);
    }
    if !is_absolute(text, context) {
        return Err(ResolveFault::RelativePath(shown(text)));
    }
    match context.platform {
        Platform::Windows => AbsolutePath::of_windows(text),
        Platform::Linux | Platform::MacOs => AbsolutePath::new(text),
    }
    .map_err(bad)
}

/// Whether `text` is an absolute path on the policy's own system.
fn is_absolute(text: &str, context: &Context) -> bool {
    let drive = || {
        let mut characters = text.chars();
        characters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && characters.next() == Some(':')
            && characters.next().is_some_and(|c| c == '\\' || c == '/')
    };
    match context.platform {
        Platform::Windows => drive() || text.starts_with(['\\', '/']),
        Platform::Linux | Platform::MacOs => text.starts_with('/'),
    }
}

/// A relative name of one or more parts, without `.`, `..`, doubled or trailing separators.
pub(crate) fn name(text: &str) -> Result<String, ResolveFault> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    let bad = trimmed.split('/').any(bad_part)
        || trimmed.contains(['\0', '*', '?'])
        || trimmed.starts_with('~')
        || std::path::Path::new(trimmed).is_absolute();
    if bad {
        return Err(ResolveFault::BadName(shown(text)));
    }
    Ok(trimmed.to_owned())
}

/// What an entry of `deny_read` covers.
pub(crate) fn hidden(text: &str, context: &Context) -> Result<HiddenPattern, ResolveFault> {
    let is_glob = text.contains(['*', '?', '[', '{']);
    if text.starts_with(['~', '/', '$']) || is_absolute(text, context) {
        let path = path(text, context)?;
        if !is_glob {
            return Ok(HiddenPattern::Path(path));
        }
        let below_home = text.strip_prefix("~/");
        let fixed = if below_home.is_some() {
            escape_glob(&context.home)
        } else {
            Some(String::new())
        };
        let glob = fixed.map(|fixed| match below_home {
            Some(below) => format!("{fixed}/{}", below.trim_start_matches('/')),
            None => text.to_owned(),
        });
        let glob = glob.ok_or_else(|| ResolveFault::BadPath {
            path: shown(text),
            reason: "the home directory's name is no UTF-8".to_owned(),
        })?;
        check_glob(&glob, text)?;
        return Ok(HiddenPattern::HomeGlob(glob));
    }
    let climbs = text.split('/').any(|part| part == ".." || part == ".");
    if text.is_empty() || text.contains('\0') || climbs {
        return Err(ResolveFault::BadName(shown(text)));
    }
    let glob = text.strip_suffix('/').unwrap_or(text).to_owned();
    check_glob(&glob, text)?;
    Ok(HiddenPattern::RootGlob {
        glob,
        except: Vec::new(),
    })
}

/// A path's own letters, so that no star in a home directory's name means anything.
fn escape_glob(path: &AbsolutePath) -> Option<String> {
    path.as_path().to_str().map(globset::escape)
}

fn check_glob(glob: &str, text: &str) -> Result<(), ResolveFault> {
    Glob::new(glob)
        .map(drop)
        .map_err(|error| ResolveFault::BadGlob {
            glob: shown(text),
            reason: shown(&error.kind().to_string()),
        })
}

/// A loopback address and a port: what `connect` reaches.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, ResolveFault> {
    let address = text.parse::<SocketAddr>().ok();
    address
        .filter(|address| address.ip().is_loopback() && address.port() != 0)
        .ok_or_else(|| ResolveFault::NotLoopback(shown(text)))
}

/// `SCHEME://HOST:PORT`, with nothing more.
pub(crate) fn url(
    text: &str,
    schemes: &[&str],
    expected: &'static str,
) -> Result<(), ResolveFault> {
    let bad = || ResolveFault::BadUrl {
        url: shown(text),
        expected,
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
    let fits = schemes.contains(&scheme)
        && parse_port(port).is_ok()
        && Host::parse(host.as_bytes()).is_ok();
    if fits { Ok(()) } else { Err(bad()) }
}

/// A variable's name.
pub(crate) fn variable(text: &str) -> Result<(), ResolveFault> {
    let reason = if text.is_empty() {
        "is no name of a variable"
    } else if text.contains(['=', '\0']) {
        "can't be a variable's name: it holds `=` or NUL"
    } else if text.to_ascii_uppercase().starts_with("RINGFENCE_") {
        "is Ringfence's own and never passes"
    } else {
        return Ok(());
    };
    Err(ResolveFault::BadVariable {
        name: shown(text),
        reason,
    })
}
