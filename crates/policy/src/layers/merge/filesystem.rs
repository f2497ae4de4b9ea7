//! The merge of what is said of files: roots, what is hidden, protected names, and what takes them back.
//!
//! Invariant: an entry of a stronger layer is never taken back by a weaker one.

use std::collections::HashSet;

use super::{Merge, defaults};
use crate::escape::escape;
use crate::layers::error::suggestion;
use crate::layers::{Context, Layer, LayerKind, ResolveError, ResolveFault, Sourced, text};
use crate::path::AbsolutePath;
use crate::policy::{FilesystemPolicy, HiddenKind, HiddenPath};
use crate::{protected, secrets};

impl<'layers> Merge<'layers> {
    pub(super) fn filesystem(&mut self) -> Result<FilesystemPolicy, ResolveError> {
        let context = self.context;
        let writable_roots = self.grants(
            "filesystem.writable_roots",
            |document| &document.filesystem.writable_roots,
            |words| text::path(words, context),
            |outer: &AbsolutePath, inner| inner.starts_with(outer),
        )?;
        let hidden = self.hidden()?;
        let protected = self.protected()?;
        Ok(FilesystemPolicy {
            writable_roots,
            hidden,
            protected,
            git: self.value("filesystem.git", defaults::GIT, |document| {
                document.filesystem.git
            })?,
            new_repositories: self.value(
                "filesystem.new_repositories",
                defaults::NEW_REPOSITORIES,
                |document| document.filesystem.new_repositories,
            )?,
            hard_links: self.value("filesystem.hard_links", defaults::HARD_LINKS, |document| {
                document.filesystem.hard_links
            })?,
        })
    }

    /// Secrets and `deny_read`, less what a stronger layer's `allow_read` names.
    fn hidden(&mut self) -> Result<Vec<HiddenPath>, ResolveError> {
        let key = "filesystem.deny_read";
        let mut hidden: Vec<HiddenPath> = Vec::new();
        for layer in self.layers {
            for words in &layer.document.filesystem.deny_read {
                let pattern = text::hidden(words, self.context)
                    .map_err(|fault| ResolveError::new(layer.place(key, words), fault))?;
                hidden.push(HiddenPath {
                    pattern,
                    name: words.clone(),
                    kind: HiddenKind::DenyRead,
                    except: Vec::new(),
                    layer: layer.kind,
                });
            }
        }
        hidden.extend(
            secrets::BUILT_IN
                .iter()
                .filter_map(|secret| secret.hidden(self.context)),
        );
        let context = self.context;
        let allowed = self.grants(
            "filesystem.allow_read",
            |document| &document.filesystem.allow_read,
            |words| Ok(words.clone()),
            |outer: &String, inner| outer == inner,
        )?;
        for entry in &allowed {
            self.take_back_hidden(&mut hidden, entry, context)?;
        }
        // The table's own entries are unique: only what a layer names can repeat.
        let named = hidden
            .iter()
            .take_while(|entry| entry.kind == HiddenKind::DenyRead)
            .count();
        let mut unique: Vec<HiddenPath> = Vec::with_capacity(hidden.len());
        for entry in hidden {
            let known = unique.get(..named.min(unique.len())).unwrap_or_default();
            let repeats =
                |known: &HiddenPath| known.pattern == entry.pattern && known.except == entry.except;
            if !known.iter().any(repeats) {
                unique.push(entry);
            }
        }
        Ok(unique)
    }

    fn take_back_hidden(
        &mut self,
        hidden: &mut Vec<HiddenPath>,
        allowed: &Sourced<String>,
        context: &Context,
    ) -> Result<(), ResolveError> {
        let words = &allowed.value;
        let same_path = text::hidden(words, context).ok();
        let named =
            |entry: &HiddenPath| entry.name == *words || same_path.as_ref() == Some(&entry.pattern);
        let elsewhere = secrets::BUILT_IN.iter().any(|secret| secret.name == words);
        if !elsewhere && !hidden.iter().any(named) {
            let known = hidden.iter().map(|entry| entry.name.as_str());
            let fault = ResolveFault::UnknownSecret {
                name: escape(words.as_bytes()).into_owned(),
                suggestion: suggestion(words, known),
            };
            return Err(ResolveError::new(
                self.place_of(allowed, "filesystem.allow_read"),
                fault,
            ));
        }
        if let Some(held) = hidden
            .iter()
            .find(|entry| named(entry) && entry.layer == LayerKind::Managed)
            && allowed.layer != LayerKind::Managed
        {
            let name = held.name.clone();
            self.refuse_entry(allowed, "filesystem.allow_read", &name)?;
        }
        hidden.retain(|entry| !named(entry) || entry.layer <= allowed.layer);
        Ok(())
    }

    /// Built-in names and `protected`, less what a stronger layer's `unprotected` names.
    fn protected(&mut self) -> Result<Vec<Sourced<String>>, ResolveError> {
        let mut names: Vec<Sourced<String>> = Vec::new();
        for layer in self.layers {
            for words in &layer.document.filesystem.protected {
                let value = text::name(words).map_err(|fault| {
                    ResolveError::new(layer.place("filesystem.protected", words), fault)
                })?;
                names.push(Sourced {
                    value,
                    layer: layer.kind,
                });
            }
        }
        names.extend(protected::BUILT_IN.iter().map(|entry| Sourced {
            value: entry.name.to_owned(),
            layer: LayerKind::Default,
        }));
        let taken_back = self.grants(
            "filesystem.unprotected",
            |document| &document.filesystem.unprotected,
            |words| text::name(words),
            |outer: &String, inner| outer == inner,
        )?;
        for entry in &taken_back {
            self.take_back_protected(&mut names, entry)?;
        }
        let mut known = HashSet::with_capacity(names.len());
        names.retain(|name| known.insert(name.value.clone()));
        Ok(names)
    }

    fn take_back_protected(
        &mut self,
        names: &mut Vec<Sourced<String>>,
        taken: &Sourced<String>,
    ) -> Result<(), ResolveError> {
        let key = "filesystem.unprotected";
        if taken.value == ".git" {
            return Err(ResolveError::new(
                self.place_of(taken, key),
                ResolveFault::GitUnprotected,
            ));
        }
        if names.iter().all(|name| name.value != taken.value) {
            let fault = ResolveFault::UnknownProtected {
                name: escape(taken.value.as_bytes()).into_owned(),
                suggestion: suggestion(&taken.value, names.iter().map(|name| name.value.as_str())),
            };
            return Err(ResolveError::new(self.place_of(taken, key), fault));
        }
        let held = names
            .iter()
            .any(|name| name.value == taken.value && name.layer == LayerKind::Managed);
        if held && taken.layer != LayerKind::Managed {
            self.refuse_entry(taken, key, &taken.value.clone())?;
        }
        names.retain(|name| name.value != taken.value || name.layer <= taken.layer);
        Ok(())
    }

    fn layer_of(&self, kind: LayerKind) -> Option<&'layers Layer> {
        self.layers.iter().find(|layer| layer.kind == kind).copied()
    }

    fn place_of(&self, entry: &Sourced<String>, key: &str) -> crate::place::Place {
        match self.layer_of(entry.layer) {
            Some(layer) => layer.place(key, &entry.value),
            None => crate::place::Place {
                source: entry.layer.word().to_owned(),
                key: key.to_owned(),
                spot: None,
            },
        }
    }

    fn refuse_entry(
        &mut self,
        entry: &Sourced<String>,
        key: &str,
        denied: &str,
    ) -> Result<(), ResolveError> {
        match (self.layer_of(entry.layer), self.managed()) {
            (Some(layer), Some(managed)) => self.refuse(
                layer,
                managed,
                key,
                &entry.value,
                &format!("a denial of `{denied}`"),
            ),
            (None, _) | (_, None) => Ok(()),
        }
    }
}
