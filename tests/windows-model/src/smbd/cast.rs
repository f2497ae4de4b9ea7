//! Who plays: SIDs of the model and the names by which the server knows them.
//!
//! Invariant: a SID has one name, and the players of a group are the same in every scene.

use std::fmt::Write as _;

use ringfence_nt::{Dacl, Privileges, Restriction, SecurityDescriptor, Sid, Token};

/// A user of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Player {
    /// The sandbox user in the normal pass.
    Target,
    /// The restricting SIDs.
    Second,
    /// The person whose files they are.
    Person,
    /// The administrator, who builds and looks but is never judged.
    Root,
}

impl Player {
    /// Those who are judged.
    pub const JUDGED: [Self; 3] = [Self::Target, Self::Second, Self::Person];

    /// Its name on the server.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Second => "second",
            Self::Person => "person",
            Self::Root => "root",
        }
    }
}

/// The groups of the server and who is in them.
pub(super) const GROUPS: [(&str, &[Player]); 8] = [
    ("agents", &[Player::Target]),
    ("capone", &[Player::Second]),
    ("captwo", &[Player::Second]),
    ("marker", &[Player::Second]),
    ("session", &[Player::Second]),
    ("everyone", &[Player::Target, Player::Person]),
    ("locals", &[Player::Target, Player::Person]),
    ("signedin", &[Player::Person]),
];

/// The primary group of every user there.
const PRIMARY: &str = "domusers";

/// Which SID of the model is which user or group of the server.
#[derive(Clone, Debug)]
pub struct Cast {
    names: Vec<(Sid, &'static str)>,
}

impl Cast {
    /// A cast of users and groups; Everyone, Users and Authenticated Users are groups of the scene.
    #[must_use]
    pub fn new(named: &[(Sid, &'static str)]) -> Self {
        let mut names = named.to_vec();
        names.extend([
            (Sid::EVERYONE, "everyone"),
            (Sid::USERS, "locals"),
            (Sid::AUTHENTICATED_USERS, "signedin"),
            (Self::root(), Player::Root.name()),
            (Self::primary(), PRIMARY),
        ]);
        Self { names }
    }

    /// Stands for the administrator of the server.
    #[must_use]
    pub const fn root() -> Sid {
        Sid::TRUSTED_INSTALLER
    }

    /// Stands for the primary group of all.
    #[must_use]
    pub const fn primary() -> Sid {
        Sid::GUESTS
    }

    /// The SID with this name; nobody's if the scene has none.
    #[must_use]
    pub fn sid(&self, name: &str) -> Sid {
        let found = self.names.iter().find(|(_, known)| *known == name);
        found.map_or(Sid::NULL, |(sid, _)| *sid)
    }

    /// What the server knows a player's token to hold.
    #[must_use]
    pub fn token(&self, player: Player) -> Token {
        let groups: Vec<Sid> = GROUPS
            .iter()
            .filter(|(_, members)| members.contains(&player))
            .map(|(name, _)| self.sid(name))
            .filter(|sid| *sid != Sid::NULL)
            .chain([Self::primary()])
            .collect();
        Token {
            primary_group: Self::primary(),
            privileges: Privileges::CHANGE_NOTIFY,
            ..Token::new(self.sid(player.name()), &groups)
        }
    }

    /// The token whose two passes the target and the second play.
    #[must_use]
    pub fn restricted(&self) -> Token {
        let second = self.token(Player::Second);
        let mut restricting: Vec<Sid> = second.groups.iter().map(|group| group.sid).collect();
        restricting.push(second.user);
        Token {
            restriction: Restriction::Writes(restricting),
            ..self.token(Player::Target)
        }
    }

    /// A descriptor as the server takes it, with names in the place of SIDs.
    pub(super) fn render(&self, descriptor: &SecurityDescriptor) -> String {
        let mut text = String::new();
        for (part, sid) in [("O:", descriptor.owner), ("G:", descriptor.group)] {
            if let Some(sid) = sid {
                text.push_str(part);
                text.push_str(&self.name(sid));
            }
        }
        text.push_str(&self.render_dacl(&descriptor.dacl));
        text
    }

    /// A list as the server takes it. It is always protected: the server keeps the flag, and inherits nothing anew.
    pub(super) fn render_dacl(&self, dacl: &Dacl) -> String {
        let mut text = String::from("D:P");
        let Dacl::Present(acl) = dacl else {
            return text + "NO_ACCESS_CONTROL";
        };
        for ace in &acl.aces {
            // The kind and the flags, as the descriptor's own text has them.
            let alone = SecurityDescriptor {
                owner: None,
                group: None,
                dacl: Dacl::Present([*ace].into_iter().collect()),
                sacl: None,
                control: ringfence_nt::Control(0),
            };
            let entry = alone.to_sddl();
            let kind_and_flags = entry.split(";0x").next().unwrap_or_default();
            let kind_and_flags = kind_and_flags.strip_prefix("D:").unwrap_or_default();
            // Writing to a string can't fail.
            let _ = write!(
                text,
                "{kind_and_flags};{};;;{})",
                ace.mask,
                self.name(ace.sid)
            );
        }
        text
    }

    /// A descriptor as the server gives it.
    pub(super) fn read(&self, text: &str) -> Result<SecurityDescriptor, String> {
        let mut text = text.to_owned();
        for (sid, name) in &self.names {
            text = text.replace(&format!("{{{name}}}"), &sid.to_string());
        }
        SecurityDescriptor::from_sddl(&text).map_err(|error| format!("{text}: {error}"))
    }

    fn name(&self, sid: Sid) -> String {
        let found = self.names.iter().find(|(known, _)| *known == sid);
        found.map_or_else(|| sid.to_string(), |(_, name)| format!("{{{name}}}"))
    }
}
