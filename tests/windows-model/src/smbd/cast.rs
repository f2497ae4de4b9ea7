//! Who plays: SIDs of the model and the names by which the server knows them.
//!
//! Invariant: a SID has one name, and the players of a group are the same in every stage.

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
pub(super) const GROUPS: [(&str, &[Player]); 10] = [
    ("agents", &[Player::Target]),
    ("capone", &[Player::Second]),
    ("captwo", &[Player::Second]),
    ("marker", &[Player::Second]),
    ("session", &[Player::Second]),
    ("spareone", &[Player::Second]),
    ("sparetwo", &[Player::Second]),
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
    /// A cast of users and groups; Everyone, Users and Authenticated Users are groups of the stage.
    #[must_use]
    pub fn new(roles: &[(Sid, &'static str)]) -> Self {
        let mut names = roles.to_vec();
        names.extend([
            (Sid::EVERYONE, "everyone"),
            (Sid::USERS, "locals"),
            (Sid::AUTHENTICATED_USERS, "signedin"),
            (Self::root(), Player::Root.name()),
            (Self::primary(), PRIMARY),
        ]);
        Self { names }
    }

    /// The cast of a target's own token: the server's groups stand for its group and for its restricting SIDs.
    ///
    /// The user itself and WRITE RESTRICTED stand among the restricting SIDs too; the second plays neither. So it does
    /// not own what the target owns, and what such an object gives is left undecided.
    ///
    /// # Errors
    /// There are more SIDs than groups.
    pub fn of(target: &Token, person: Sid) -> Result<Self, String> {
        let second = Sid::new(5, &[21, 1, 2, 3, 1002]).map_err(|error| error.to_string())?;
        let mut roles = vec![
            (target.user, "target"),
            (second, "second"),
            (person, "person"),
        ];
        let is_made = |sid: &Sid| sid.authority() == 5 && sid.subauthorities().first() == Some(&21);
        let groups = target.groups.iter().map(|group| group.sid).filter(is_made);
        assign(&mut roles, groups, &["agents"])?;
        let own = |sid: &Sid| *sid != target.user && *sid != Sid::WRITE_RESTRICTED;
        let restricting = target.restriction.sids().iter().copied().filter(own);
        let names = [
            "capone", "captwo", "marker", "session", "spareone", "sparetwo",
        ];
        assign(&mut roles, restricting, &names)?;
        Ok(Self::new(&roles))
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

    /// The SID with this name; nobody's if the stage has none.
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

    /// Whether the target owns what this SID owns.
    pub(super) fn is_target(&self, owner: Option<Sid>) -> bool {
        owner == Some(self.sid(Player::Target.name()))
    }

    fn name(&self, sid: Sid) -> String {
        let found = self.names.iter().find(|(known, _)| *known == sid);
        found.map_or_else(|| sid.to_string(), |(_, name)| format!("{{{name}}}"))
    }
}

fn assign(
    roles: &mut Vec<(Sid, &'static str)>,
    sids: impl Iterator<Item = Sid>,
    names: &[&'static str],
) -> Result<(), String> {
    let mut free = names.iter();
    for sid in sids {
        let name = free.next().ok_or(format!("no group is left for {sid}"))?;
        roles.push((sid, name));
    }
    Ok(())
}
