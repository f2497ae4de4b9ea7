//! The places no target reads without anybody saying so.
//!
//! Names the files and directories in which tools keep keys, logins and private history. Looks at no disk: which of
//! them exist is the planner's question. Invariant: each entry's name is unique and takes it back in `allow_read`.

use serde::{Deserialize, Serialize};

use crate::layers::{Context, LayerKind, text};
use crate::policy::{HiddenKind, HiddenPath, HiddenPattern};

/// The operating system whose places are meant; handed in, never asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// Linux.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

/// One built-in secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The words that name it: `~/…`, an absolute path, or a name at any depth of each writable root.
    pub name: &'static str,
    /// What is kept there.
    pub what: &'static str,
    /// Where such a place exists.
    pub platforms: &'static [Platform],
    /// What of it stays readable, in the same spelling.
    pub except: &'static [&'static str],
}

const EVERYWHERE: &[Platform] = &[Platform::Linux, Platform::MacOs, Platform::Windows];
const UNIX: &[Platform] = &[Platform::Linux, Platform::MacOs];
const LINUX: &[Platform] = &[Platform::Linux];
const MACOS: &[Platform] = &[Platform::MacOs];
const WINDOWS: &[Platform] = &[Platform::Windows];

const fn secret(platforms: &'static [Platform], name: &'static str, what: &'static str) -> Secret {
    Secret {
        name,
        what,
        platforms,
        except: &[],
    }
}

/// Every built-in secret.
///
/// Files that builds can't do without and that seldom hold a login (`~/.m2/settings.xml`, `~/.gradle/gradle.properties`,
/// `~/.yarnrc.yml`) are left to `deny_read`.
///
/// `.env.example`, `.env.sample`, `.env.template` and `.env.dist` stay readable: they are committed to say which
/// variables a project needs, hold no values by convention, and tools and agents are told to read them.
#[rustfmt::skip]
pub const BUILT_IN: &[Secret] = &[
    // Keys and remote access.
    Secret { except: &["~/.ssh/known_hosts", "~/.ssh/known_hosts2"], ..secret(EVERYWHERE, "~/.ssh", "SSH keys and configuration") },
    secret(EVERYWHERE, "~/.gnupg", "GnuPG keys"),
    secret(EVERYWHERE, "~/.age", "age keys"),
    secret(UNIX, "~/.config/age", "age keys"),
    secret(UNIX, "~/.config/sops", "sops keys"),
    secret(MACOS, "~/Library/Application Support/sops", "sops keys"),
    secret(WINDOWS, "~/AppData/Roaming/gnupg", "GnuPG keys"),
    secret(EVERYWHERE, "~/.putty", "PuTTY keys"),
    // Clouds and clusters.
    secret(EVERYWHERE, "~/.aws", "AWS credentials"),
    secret(EVERYWHERE, "~/.azure", "Azure logins"),
    secret(UNIX, "~/.config/gcloud", "Google Cloud logins"),
    secret(WINDOWS, "~/AppData/Roaming/gcloud", "Google Cloud logins"),
    secret(EVERYWHERE, "~/.boto", "cloud storage credentials"),
    secret(EVERYWHERE, "~/.s3cfg", "cloud storage credentials"),
    secret(UNIX, "~/.config/rclone", "remote storage logins"),
    secret(UNIX, "~/.config/doctl", "DigitalOcean logins"),
    secret(EVERYWHERE, "~/.oci", "Oracle Cloud keys"),
    secret(EVERYWHERE, "~/.aliyun", "Alibaba Cloud credentials"),
    secret(EVERYWHERE, "~/.bluemix", "IBM Cloud logins"),
    secret(UNIX, "~/.config/hcloud", "Hetzner Cloud tokens"),
    secret(EVERYWHERE, "~/.fly", "Fly.io logins"),
    secret(UNIX, "~/.config/.wrangler", "Cloudflare logins"),
    secret(EVERYWHERE, "~/.kube", "Kubernetes logins"),
    secret(EVERYWHERE, "~/.terraform.d", "Terraform logins"),
    secret(EVERYWHERE, "~/.terraformrc", "Terraform logins"),
    secret(EVERYWHERE, "~/.pulumi/credentials.json", "Pulumi logins"),
    secret(EVERYWHERE, "~/.vault-token", "a Vault token"),
    // Containers.
    secret(EVERYWHERE, "~/.docker/config.json", "container registry logins"),
    secret(UNIX, "~/.config/containers/auth.json", "container registry logins"),
    // Source hosting and package registries.
    secret(EVERYWHERE, "~/.netrc", "logins of many tools"),
    secret(WINDOWS, "~/_netrc", "logins of many tools"),
    secret(EVERYWHERE, "~/.authinfo", "logins of many tools"),
    secret(EVERYWHERE, "~/.authinfo.gpg", "logins of many tools"),
    secret(EVERYWHERE, "~/.git-credentials", "git logins"),
    secret(UNIX, "~/.config/git/credentials", "git logins"),
    secret(UNIX, "~/.config/gh", "GitHub logins"),
    secret(WINDOWS, "~/AppData/Roaming/GitHub CLI", "GitHub logins"),
    secret(UNIX, "~/.config/glab-cli", "GitLab logins"),
    secret(UNIX, "~/.config/hub", "GitHub logins"),
    secret(EVERYWHERE, "~/.npmrc", "npm tokens"),
    secret(EVERYWHERE, "~/.pypirc", "PyPI tokens"),
    secret(UNIX, "~/.config/pypoetry/auth.toml", "package registry tokens"),
    secret(EVERYWHERE, "~/.cargo/credentials*", "Rust registry tokens"),
    secret(EVERYWHERE, "~/.gem/credentials", "RubyGems tokens"),
    secret(EVERYWHERE, "~/.composer/auth.json", "PHP registry logins"),
    secret(UNIX, "~/.config/composer/auth.json", "PHP registry logins"),
    secret(EVERYWHERE, "~/.m2/settings-security.xml", "Maven's master password"),
    secret(EVERYWHERE, "~/.hex/hex.config", "Hex tokens"),
    secret(EVERYWHERE, "~/.cache/huggingface/token", "model hub tokens"),
    secret(EVERYWHERE, "~/.kaggle", "Kaggle tokens"),
    // Databases.
    secret(EVERYWHERE, "~/.pgpass", "PostgreSQL passwords"),
    secret(EVERYWHERE, "~/.my.cnf", "MySQL passwords"),
    secret(EVERYWHERE, "~/.mylogin.cnf", "MySQL passwords"),
    // Password managers and keyrings.
    secret(EVERYWHERE, "~/.password-store", "the pass password store"),
    secret(UNIX, "~/.config/op", "1Password logins"),
    secret(UNIX, "~/.config/Bitwarden", "the Bitwarden vault"),
    secret(UNIX, "~/.config/Bitwarden CLI", "the Bitwarden vault"),
    secret(LINUX, "~/.config/keepassxc", "KeePassXC settings"),
    secret(LINUX, "~/.local/share/keyrings", "the GNOME keyring"),
    secret(LINUX, "~/.local/share/kwalletd", "the KDE wallet"),
    secret(LINUX, "~/.pki", "certificate databases"),
    secret(MACOS, "~/Library/Keychains", "the keychain"),
    secret(MACOS, "~/Library/Application Support/1Password", "the 1Password vault"),
    secret(MACOS, "~/Library/Group Containers/2BUA8C4S2C.com.1password", "the 1Password vault"),
    secret(WINDOWS, "~/AppData/Local/1Password", "the 1Password vault"),
    secret(WINDOWS, "~/AppData/Roaming/Microsoft/Credentials", "the credential manager"),
    secret(WINDOWS, "~/AppData/Local/Microsoft/Credentials", "the credential manager"),
    secret(WINDOWS, "~/AppData/Local/Microsoft/Vault", "the credential manager"),
    secret(WINDOWS, "~/AppData/Roaming/Microsoft/Protect", "data protection keys"),
    // Browser profiles.
    secret(LINUX, "~/.mozilla", "Firefox profiles"),
    secret(LINUX, "~/.config/mozilla", "Firefox profiles"),
    secret(LINUX, "~/.librewolf", "LibreWolf profiles"),
    secret(LINUX, "~/.waterfox", "Waterfox profiles"),
    secret(LINUX, "~/.zen", "Zen profiles"),
    secret(LINUX, "~/.thunderbird", "Thunderbird profiles and mail"),
    secret(LINUX, "~/.config/google-chrome*", "Chrome profiles"),
    secret(LINUX, "~/.config/chromium", "Chromium profiles"),
    secret(LINUX, "~/.config/BraveSoftware", "Brave profiles"),
    secret(LINUX, "~/.config/microsoft-edge*", "Edge profiles"),
    secret(LINUX, "~/.config/vivaldi*", "Vivaldi profiles"),
    secret(LINUX, "~/.config/opera*", "Opera profiles"),
    secret(LINUX, "~/.local/share/epiphany", "GNOME Web profiles"),
    secret(LINUX, "~/.local/share/qutebrowser", "qutebrowser profiles"),
    secret(LINUX, "~/.config/falkon", "Falkon profiles"),
    secret(LINUX, "~/.tor-browser", "Tor Browser profiles"),
    secret(LINUX, "~/snap/firefox", "Firefox profiles"),
    secret(LINUX, "~/snap/chromium", "Chromium profiles"),
    secret(LINUX, "~/snap/brave", "Brave profiles"),
    secret(LINUX, "~/snap/thunderbird", "Thunderbird profiles and mail"),
    secret(LINUX, "~/.var/app/org.mozilla.firefox", "Firefox profiles"),
    secret(LINUX, "~/.var/app/org.mozilla.Thunderbird", "Thunderbird profiles and mail"),
    secret(LINUX, "~/.var/app/io.gitlab.librewolf-community", "LibreWolf profiles"),
    secret(LINUX, "~/.var/app/com.google.Chrome", "Chrome profiles"),
    secret(LINUX, "~/.var/app/org.chromium.Chromium", "Chromium profiles"),
    secret(LINUX, "~/.var/app/com.brave.Browser", "Brave profiles"),
    secret(LINUX, "~/.var/app/com.microsoft.Edge", "Edge profiles"),
    secret(LINUX, "~/.var/app/com.vivaldi.Vivaldi", "Vivaldi profiles"),
    secret(LINUX, "~/.var/app/app.zen_browser.zen", "Zen profiles"),
    secret(MACOS, "~/Library/Safari", "Safari's data"),
    secret(MACOS, "~/Library/Cookies", "cookies"),
    secret(MACOS, "~/Library/Containers/com.apple.Safari", "Safari's data"),
    secret(MACOS, "~/Library/Application Support/Firefox", "Firefox profiles"),
    secret(MACOS, "~/Library/Application Support/LibreWolf", "LibreWolf profiles"),
    secret(MACOS, "~/Library/Application Support/zen", "Zen profiles"),
    secret(MACOS, "~/Library/Application Support/Google/Chrome*", "Chrome profiles"),
    secret(MACOS, "~/Library/Application Support/Chromium", "Chromium profiles"),
    secret(MACOS, "~/Library/Application Support/BraveSoftware", "Brave profiles"),
    secret(MACOS, "~/Library/Application Support/Microsoft Edge*", "Edge profiles"),
    secret(MACOS, "~/Library/Application Support/Vivaldi", "Vivaldi profiles"),
    secret(MACOS, "~/Library/Application Support/com.operasoftware.Opera", "Opera profiles"),
    secret(MACOS, "~/Library/Application Support/Arc", "Arc profiles"),
    secret(MACOS, "~/Library/Thunderbird", "Thunderbird profiles and mail"),
    secret(WINDOWS, "~/AppData/Roaming/Mozilla", "Firefox profiles"),
    secret(WINDOWS, "~/AppData/Local/Mozilla", "Firefox caches"),
    secret(WINDOWS, "~/AppData/Roaming/Thunderbird", "Thunderbird profiles and mail"),
    secret(WINDOWS, "~/AppData/Roaming/librewolf", "LibreWolf profiles"),
    secret(WINDOWS, "~/AppData/Local/Google/Chrome*", "Chrome profiles"),
    secret(WINDOWS, "~/AppData/Local/Chromium", "Chromium profiles"),
    secret(WINDOWS, "~/AppData/Local/BraveSoftware", "Brave profiles"),
    secret(WINDOWS, "~/AppData/Local/Microsoft/Edge*", "Edge profiles"),
    secret(WINDOWS, "~/AppData/Local/Vivaldi", "Vivaldi profiles"),
    secret(WINDOWS, "~/AppData/Roaming/Opera Software", "Opera profiles"),
    // Histories: what was typed, passwords among it.
    secret(EVERYWHERE, "~/.bash_history", "shell history"),
    secret(UNIX, "~/.bash_sessions", "shell history"),
    secret(UNIX, "~/.zsh_history", "shell history"),
    secret(UNIX, "~/.zhistory", "shell history"),
    secret(UNIX, "~/.histfile", "shell history"),
    secret(UNIX, "~/.zsh_sessions", "shell history"),
    secret(UNIX, "~/.sh_history", "shell history"),
    secret(UNIX, "~/.ksh_history", "shell history"),
    secret(UNIX, "~/.history", "shell history"),
    secret(UNIX, "~/.local/share/fish/fish_history", "shell history"),
    secret(UNIX, "~/.config/fish/fish_history", "shell history"),
    secret(UNIX, "~/.local/share/powershell/PSReadLine", "shell history"),
    secret(WINDOWS, "~/AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine", "shell history"),
    secret(UNIX, "~/.config/nushell/history*", "shell history"),
    secret(UNIX, "~/.local/share/xonsh", "shell history"),
    secret(UNIX, "~/.local/share/atuin", "shell history"),
    secret(EVERYWHERE, "~/.python_history", "interpreter history"),
    secret(EVERYWHERE, "~/.ipython/profile_default/history.sqlite", "interpreter history"),
    secret(EVERYWHERE, "~/.node_repl_history", "interpreter history"),
    secret(EVERYWHERE, "~/.irb_history", "interpreter history"),
    secret(EVERYWHERE, "~/.pry_history", "interpreter history"),
    secret(EVERYWHERE, "~/.php_history", "interpreter history"),
    secret(EVERYWHERE, "~/.Rhistory", "interpreter history"),
    secret(EVERYWHERE, "~/.julia/logs/repl_history.jl", "interpreter history"),
    secret(EVERYWHERE, "~/.psql_history", "database history"),
    secret(EVERYWHERE, "~/.mysql_history", "database history"),
    secret(EVERYWHERE, "~/.mariadb_history", "database history"),
    secret(EVERYWHERE, "~/.sqlite_history", "database history"),
    secret(EVERYWHERE, "~/.rediscli_history", "database history"),
    secret(EVERYWHERE, "~/.dbshell", "database history"),
    secret(EVERYWHERE, "~/.mongodb/mongosh", "database history"),
    secret(EVERYWHERE, "~/.lesshst", "pager history"),
    secret(EVERYWHERE, "~/.viminfo", "editor history"),
    // Logins of other agents.
    secret(EVERYWHERE, "~/.codex/auth.json", "an agent's login"),
    secret(EVERYWHERE, "~/.claude/.credentials.json", "an agent's login"),
    secret(EVERYWHERE, "~/.claude.json", "an agent's login and history"),
    secret(EVERYWHERE, "~/.claude.json.backup*", "an agent's login and history"),
    secret(EVERYWHERE, "~/.claude/backups", "an agent's login and history"),
    secret(EVERYWHERE, "~/.gemini/oauth_creds.json", "an agent's login"),
    secret(EVERYWHERE, "~/.gemini/google_accounts.json", "an agent's login"),
    secret(UNIX, "~/.config/github-copilot", "an agent's login"),
    secret(EVERYWHERE, "~/.copilot", "an agent's login"),
    secret(WINDOWS, "~/AppData/Local/github-copilot", "an agent's login"),
    secret(UNIX, "~/.local/share/opencode/auth.json", "an agent's login"),
    secret(UNIX, "~/.config/goose", "an agent's login"),
    secret(EVERYWHERE, "~/.aider.conf.yml", "an agent's keys"),
    secret(EVERYWHERE, "~/.continue/config.*", "an agent's keys"),
    secret(EVERYWHERE, "~/.cursor/mcp.json", "an agent's keys"),
    secret(LINUX, "~/.config/Cursor/User/globalStorage", "an agent's login"),
    secret(LINUX, "~/.config/Code/User/globalStorage", "an editor's logins"),
    secret(MACOS, "~/Library/Application Support/Cursor/User/globalStorage", "an agent's login"),
    secret(MACOS, "~/Library/Application Support/Code/User/globalStorage", "an editor's logins"),
    secret(WINDOWS, "~/AppData/Roaming/Cursor/User/globalStorage", "an agent's login"),
    secret(WINDOWS, "~/AppData/Roaming/Code/User/globalStorage", "an editor's logins"),
    secret(UNIX, "~/.config/amp", "an agent's login"),
    secret(UNIX, "~/.config/crush", "an agent's keys"),
    secret(EVERYWHERE, "~/.qwen/oauth_creds.json", "an agent's login"),
    secret(UNIX, "~/.config/io.datasette.llm/keys.json", "model keys"),
    // The machine's own.
    secret(UNIX, "/etc/shadow*", "password hashes and their backups"),
    secret(UNIX, "/etc/gshadow*", "group password hashes and their backups"),
    secret(UNIX, "/etc/ssh/ssh_host_*_key", "the machine's SSH keys"),
    secret(UNIX, "/etc/ssl/private", "the machine's TLS keys"),
    secret(MACOS, "/var/db/dslocal/nodes/Default/users", "password hashes"),
    secret(MACOS, "/Library/Keychains", "the machine's keychain"),
    // In every writable root and at any depth.
    secret(WINDOWS, ".ssh", "SSH keys"),
    secret(EVERYWHERE, ".env", "a project's secrets"),
    Secret {
        except: &[".env.example", ".env.sample", ".env.template", ".env.dist"],
        ..secret(EVERYWHERE, ".env.*", "a project's secrets")
    },
];

impl Secret {
    /// This secret as an entry of a policy, or `None` where the platform has no such place.
    #[must_use]
    pub(crate) fn hidden(&self, context: &Context) -> Option<HiddenPath> {
        if !self.platforms.contains(&context.platform) {
            return None;
        }
        let pattern = if self.name.starts_with(['~', '/']) {
            text::hidden(self.name, context).ok()?
        } else {
            let anywhere = |name: &str| format!("**/{name}");
            HiddenPattern::RootGlob {
                glob: anywhere(self.name),
                except: self.except.iter().map(|name| anywhere(name)).collect(),
            }
        };
        let except = self
            .except
            .iter()
            .filter(|name| name.starts_with(['~', '/']))
            .filter_map(|name| text::path(name, context).ok())
            .collect();
        Some(HiddenPath {
            pattern,
            name: self.name.to_owned(),
            kind: HiddenKind::BuiltIn,
            except,
            layer: LayerKind::Default,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::AbsolutePath;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_per_platform_and_well_formed() {
        for platform in EVERYWHERE {
            let names: Vec<_> = BUILT_IN
                .iter()
                .filter(|secret| secret.platforms.contains(platform))
                .map(|secret| secret.name)
                .collect();
            let unique: BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len());
        }
        for secret in BUILT_IN {
            assert!(
                !secret.name.contains("..") && !secret.name.ends_with('/'),
                "{}",
                secret.name
            );
            assert!(
                !secret.what.is_empty() && !secret.platforms.is_empty(),
                "{}",
                secret.name
            );
        }
    }

    #[test]
    fn ssh_hides_all_but_the_known_hosts() {
        let context = crate::layers::tests::context();
        let ssh = BUILT_IN
            .iter()
            .find(|secret| secret.name == "~/.ssh")
            .unwrap();
        let hidden = ssh.hidden(&context).unwrap();
        assert_eq!(
            hidden.pattern,
            HiddenPattern::Path(AbsolutePath::new("/home/ann/.ssh").unwrap())
        );
        assert!(
            hidden
                .except
                .contains(&AbsolutePath::new("/home/ann/.ssh/known_hosts").unwrap())
        );
    }
}
