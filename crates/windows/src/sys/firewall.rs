//! Rules of Windows Firewall.
//!
//! Source: learn.microsoft.com "Windows Firewall with Advanced Security", `INetFwPolicy2`, `INetFwRules`,
//! `INetFwRule3`; the order of the methods is that of `netfw.h`. One rule of the plan with ports is two rules of the
//! firewall, one for TCP and one for UDP, because only these know ports. Invariant: every property is set before a
//! rule is added, and a rule of ours that was changed is read as another rule.

use std::ffi::c_void;

use ringfence_plan::windows::facts::FirewallPolicy;
use ringfence_plan::windows::step::{FirewallRule, Trustee};
use windows_sys::Win32::System::Variant::{VARIANT, VT_DISPATCH, VariantClear};
use windows_sys::core::{BSTR, GUID, HRESULT};

use super::com::{Apartment, Object, Text, succeeded};
use super::error::{CallError, Win32Error};
use crate::firewall_text::{read_addresses, read_ports, read_user, render_ports, render_user};

const POLICY: GUID = GUID::from_u128(0xe2b3_c97f_6ae1_41ac_817a_f6f9_2166_d7dd);
const POLICY2: GUID = GUID::from_u128(0x9832_5047_c671_4174_8d81_defc_d3f0_3186);
const RULE: GUID = GUID::from_u128(0x2c5b_c43e_3369_4c33_ab0c_be94_6967_7af4);
const RULE3: GUID = GUID::from_u128(0xb215_63ff_d696_4222_ab46_4e89_b73a_b34a);
const ENUM_VARIANT: GUID = GUID::from_u128(0x0002_0404_0000_0000_c000_0000_0000_0046);

/// Places in the tables of methods, from `netfw.h`; each reads, and the next one writes.
mod place {
    pub(super) const POLICY_RULES: usize = 18;
    pub(super) const POLICY_STATE: usize = 28;
    pub(super) const RULES_ADD: usize = 8;
    pub(super) const RULES_REMOVE: usize = 9;
    pub(super) const RULES_ENUM: usize = 11;
    pub(super) const ENUM_NEXT: usize = 3;
    pub(super) const NAME: usize = 7;
    pub(super) const PROTOCOL: usize = 15;
    pub(super) const REMOTE_PORTS: usize = 19;
    pub(super) const REMOTE_ADDRESSES: usize = 23;
    pub(super) const DIRECTION: usize = 27;
    pub(super) const ENABLED: usize = 33;
    pub(super) const GROUPING: usize = 35;
    pub(super) const PROFILES: usize = 37;
    pub(super) const ACTION: usize = 41;
    pub(super) const USERS: usize = 49;
}

/// `NET_FW_RULE_DIR_OUT`
const OUT: i32 = 2;
/// `NET_FW_ACTION_BLOCK`
const BLOCK: i32 = 0;
/// `NET_FW_PROFILE2_ALL`
const EVERYWHERE: i32 = 0x7fff_ffff;
/// `NET_FW_IP_PROTOCOL_ANY`
const ANY: i32 = 256;
/// `NET_FW_IP_PROTOCOL_TCP`, `NET_FW_IP_PROTOCOL_UDP`
const WITH_PORTS: [i32; 2] = [6, 17];
/// `VARIANT_TRUE`, `VARIANT_FALSE`
const TRUE: i16 = -1;

/// The firewall's own rules, open.
#[derive(Debug)]
pub struct Firewall {
    policy: Object,
    rules: Object,
    /// Last: what it has made is released before.
    _apartment: Apartment,
}

/// One rule of the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    grouping: String,
    protocol: i32,
    ports: String,
    addresses: String,
    users: String,
    /// Whether it blocks what goes out, everywhere, and is switched on.
    blocks: bool,
}

fn read_text(rule: &Object, place: usize, call: &'static str) -> Result<String, CallError> {
    type Get = unsafe extern "system" fn(*mut c_void, *mut BSTR) -> HRESULT;
    let mut text: BSTR = std::ptr::null();
    // SAFETY: the callers name places that read a text.
    let get: Get = unsafe { rule.method(place) };
    // SAFETY: the rule lives; the result is ours to write.
    let result = unsafe { get(rule.as_ptr(), &raw mut text) };
    // SAFETY: it is null, or a text that was given to us.
    let text = unsafe { Text::adopt(text) };
    succeeded(result, call, "")?;
    Ok(text.read())
}

fn write_text(
    rule: &Object,
    place: usize,
    text: &str,
    call: &'static str,
) -> Result<(), CallError> {
    type Put = unsafe extern "system" fn(*mut c_void, BSTR) -> HRESULT;
    let owned = Text::new(text);
    // SAFETY: the place behind one that reads a text writes it.
    let put: Put = unsafe { rule.method(place + 1) };
    // SAFETY: the rule lives, and the text for the call.
    succeeded(unsafe { put(rule.as_ptr(), owned.as_ptr()) }, call, text)
}

fn read_number(rule: &Object, place: usize, call: &'static str) -> Result<i32, CallError> {
    type Get = unsafe extern "system" fn(*mut c_void, *mut i32) -> HRESULT;
    let mut number = 0;
    // SAFETY: the callers name places that read a 32-bit number.
    let get: Get = unsafe { rule.method(place) };
    // SAFETY: the rule lives; the result is ours to write.
    succeeded(unsafe { get(rule.as_ptr(), &raw mut number) }, call, "")?;
    Ok(number)
}

fn write_number(
    rule: &Object,
    place: usize,
    number: i32,
    call: &'static str,
) -> Result<(), CallError> {
    type Put = unsafe extern "system" fn(*mut c_void, i32) -> HRESULT;
    // SAFETY: the place behind one that reads a number writes it.
    let put: Put = unsafe { rule.method(place + 1) };
    // SAFETY: the rule lives.
    succeeded(unsafe { put(rule.as_ptr(), number) }, call, "")
}

impl Firewall {
    /// Opens the firewall's rules.
    ///
    /// # Errors
    /// The calls'.
    pub fn open() -> Result<Self, CallError> {
        type Rules = unsafe extern "system" fn(*mut c_void, *mut *mut c_void) -> HRESULT;
        const CALL: &str = "INetFwPolicy2::get_Rules";
        let apartment = Apartment::enter()?;
        let policy = Object::new(&POLICY, &POLICY2, "NetFwPolicy2")?;
        let mut rules = std::ptr::null_mut();
        // SAFETY: the policy has this method at that place.
        let get: Rules = unsafe { policy.method(place::POLICY_RULES) };
        // SAFETY: the policy lives; the result is ours to write.
        succeeded(unsafe { get(policy.as_ptr(), &raw mut rules) }, CALL, "")?;
        // SAFETY: the call succeeded: it is a reference of ours.
        let rules = unsafe { Object::adopt(rules, CALL) }?;
        Ok(Self {
            policy,
            rules,
            _apartment: apartment,
        })
    }

    /// Whether rules of this machine take effect.
    ///
    /// # Errors
    /// The call's; 13 for an answer that is not known.
    pub fn state(&self) -> Result<FirewallPolicy, CallError> {
        const CALL: &str = "INetFwPolicy2::get_LocalPolicyModifyState";
        match read_number(&self.policy, place::POLICY_STATE, CALL)? {
            0 => Ok(FirewallPolicy::LocalRules),
            1 => Ok(FirewallPolicy::GroupPolicy),
            2 => Ok(FirewallPolicy::InboundBlocked),
            other => Err(CallError::new(CALL, other, Win32Error(13))),
        }
    }

    /// The rules of that name, in the form of the plan. A rule of which a part is missing or changed reads as one that
    /// no plan has.
    ///
    /// # Errors
    /// The calls'.
    pub fn rules(&self, name: &str) -> Result<Vec<FirewallRule>, CallError> {
        let wanted = |seen: &Seen| seen.name == name || seen.name == second(name);
        let seen = self.seen(wanted)?;
        Ok(join(name, &seen).into_iter().collect())
    }

    /// The names of the rules of a grouping, without the mark of the second half.
    ///
    /// # Errors
    /// The calls'.
    pub fn names(&self, grouping: &str) -> Result<Vec<String>, CallError> {
        let seen = self.seen(|seen| seen.grouping == grouping)?;
        let mut names: Vec<String> = seen
            .into_iter()
            .map(|seen| match seen.name.strip_suffix(SECOND) {
                Some(first) => first.to_owned(),
                None => seen.name,
            })
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// The calls'; 1332 (none mapped) for a user that is still to be made.
    pub fn add(&self, rule: &FirewallRule) -> Result<(), CallError> {
        let Trustee::Sid(user) = rule.user else {
            return Err(CallError::new(
                "INetFwRules::Add",
                &rule.name,
                Win32Error(1332),
            ));
        };
        let (ports, users) = (render_ports(&rule.remote_ports), render_user(user));
        let addresses = rule.remote_addresses.join(",");
        let [tcp, udp] = WITH_PORTS;
        if ports.is_empty() {
            return self.add_one(rule, &rule.name, ANY, (&ports, &addresses, &users));
        }
        self.add_one(rule, &rule.name, tcp, (&ports, &addresses, &users))?;
        self.add_one(rule, &second(&rule.name), udp, (&ports, &addresses, &users))
    }

    fn add_one(
        &self,
        rule: &FirewallRule,
        name: &str,
        protocol: i32,
        (ports, addresses, users): (&str, &str, &str),
    ) -> Result<(), CallError> {
        type Add = unsafe extern "system" fn(*mut c_void, *mut c_void) -> HRESULT;
        let made = Object::new(&RULE, &RULE3, "NetFwRule")?;
        write_text(&made, place::NAME, name, "INetFwRule::put_Name")?;
        write_text(
            &made,
            place::GROUPING,
            &rule.grouping,
            "INetFwRule::put_Grouping",
        )?;
        // The protocol before the ports: only some know ports.
        write_number(&made, place::PROTOCOL, protocol, "INetFwRule::put_Protocol")?;
        if !ports.is_empty() {
            write_text(
                &made,
                place::REMOTE_PORTS,
                ports,
                "INetFwRule::put_RemotePorts",
            )?;
        }
        if !addresses.is_empty() {
            let call = "INetFwRule::put_RemoteAddresses";
            write_text(&made, place::REMOTE_ADDRESSES, addresses, call)?;
        }
        write_number(&made, place::DIRECTION, OUT, "INetFwRule::put_Direction")?;
        write_number(
            &made,
            place::PROFILES,
            EVERYWHERE,
            "INetFwRule::put_Profiles",
        )?;
        write_number(&made, place::ACTION, BLOCK, "INetFwRule::put_Action")?;
        write_text(
            &made,
            place::USERS,
            users,
            "INetFwRule3::put_LocalUserAuthorizedList",
        )?;
        Self::switch_on(&made)?;
        // SAFETY: the rules have this method at that place.
        let add: Add = unsafe { self.rules.method(place::RULES_ADD) };
        // SAFETY: both objects live for the call.
        let result = unsafe { add(self.rules.as_ptr(), made.as_ptr()) };
        succeeded(result, "INetFwRules::Add", name)
    }

    fn switch_on(rule: &Object) -> Result<(), CallError> {
        type Put = unsafe extern "system" fn(*mut c_void, i16) -> HRESULT;
        // SAFETY: the place behind the one that reads it writes it.
        let put: Put = unsafe { rule.method(place::ENABLED + 1) };
        // SAFETY: the rule lives.
        succeeded(
            unsafe { put(rule.as_ptr(), TRUE) },
            "INetFwRule::put_Enabled",
            "",
        )
    }

    /// Removes the rules of that name.
    ///
    /// # Errors
    /// The call's.
    pub fn remove(&self, name: &str) -> Result<(), CallError> {
        type Remove = unsafe extern "system" fn(*mut c_void, BSTR) -> HRESULT;
        let wanted = |seen: &Seen| seen.name == name || seen.name == second(name);
        for seen in self.seen(wanted)? {
            let text = Text::new(&seen.name);
            // SAFETY: the rules have this method at that place.
            let remove: Remove = unsafe { self.rules.method(place::RULES_REMOVE) };
            // SAFETY: the rules live, and the text for the call.
            let result = unsafe { remove(self.rules.as_ptr(), text.as_ptr()) };
            succeeded(result, "INetFwRules::Remove", &seen.name)?;
        }
        Ok(())
    }

    fn seen(&self, wanted: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>, CallError> {
        type Enum = unsafe extern "system" fn(*mut c_void, *mut *mut c_void) -> HRESULT;
        type Next = unsafe extern "system" fn(*mut c_void, u32, *mut VARIANT, *mut u32) -> HRESULT;
        const CALL: &str = "INetFwRules::get__NewEnum";
        let mut unknown = std::ptr::null_mut();
        // SAFETY: the rules have this method at that place.
        let get: Enum = unsafe { self.rules.method(place::RULES_ENUM) };
        // SAFETY: the rules live; the result is ours to write.
        let result = unsafe { get(self.rules.as_ptr(), &raw mut unknown) };
        succeeded(result, CALL, "")?;
        // SAFETY: the call succeeded: it is a reference of ours.
        let list = unsafe { Object::adopt(unknown, CALL) }?.cast(&ENUM_VARIANT)?;
        // SAFETY: the list has this method at that place.
        let next: Next = unsafe { list.method(place::ENUM_NEXT) };
        let mut found = Vec::new();
        loop {
            let mut item = VARIANT::default();
            let mut count = 0;
            // SAFETY: the list lives; there is room for the one item that is asked for.
            let result = unsafe { next(list.as_ptr(), 1, &raw mut item, &raw mut count) };
            succeeded(result, "IEnumVARIANT::Next", "")?;
            if count == 0 {
                return Ok(found);
            }
            let seen = read_item(&item);
            // SAFETY: the item was given to us, and is cleared once.
            unsafe { VariantClear(&raw mut item) };
            // A rule that is not of this interface is not of ours.
            if let Ok(seen) = seen
                && wanted(&seen)
            {
                found.push(seen);
            }
        }
    }
}

fn read_item(item: &VARIANT) -> Result<Seen, CallError> {
    const CALL: &str = "IEnumVARIANT::Next";
    let other = || CallError::new(CALL, "no object", Win32Error(13));
    // SAFETY: every item has its kind there.
    let inner = unsafe { &item.Anonymous.Anonymous };
    if inner.vt != VT_DISPATCH {
        return Err(other());
    }
    // SAFETY: an item of that kind holds an object.
    let object = unsafe { inner.Anonymous.pdispVal };
    // SAFETY: the item keeps its own reference; this one is not released.
    let object = std::mem::ManuallyDrop::new(unsafe { Object::adopt(object, CALL) }?);
    let rule = object.cast(&RULE3)?;
    let name = read_text(&rule, place::NAME, "INetFwRule::get_Name")?;
    Ok(read_rule(&rule, &name).unwrap_or_else(|_| unread(&rule, name)))
}

/// A rule of which some part can't be read: it is there, and none of a plan's.
fn unread(rule: &Object, name: String) -> Seen {
    let grouping = read_text(rule, place::GROUPING, "INetFwRule::get_Grouping");
    Seen {
        name,
        grouping: grouping.unwrap_or_default(),
        protocol: ANY,
        ports: String::new(),
        addresses: String::new(),
        users: String::new(),
        blocks: false,
    }
}

fn read_rule(rule: &Object, name: &str) -> Result<Seen, CallError> {
    let is = |place, call, wanted| Ok::<bool, CallError>(read_number(rule, place, call)? == wanted);
    Ok(Seen {
        name: name.to_owned(),
        grouping: read_text(rule, place::GROUPING, "INetFwRule::get_Grouping")?,
        protocol: read_number(rule, place::PROTOCOL, "INetFwRule::get_Protocol")?,
        ports: read_text(rule, place::REMOTE_PORTS, "INetFwRule::get_RemotePorts")?,
        addresses: read_text(
            rule,
            place::REMOTE_ADDRESSES,
            "INetFwRule::get_RemoteAddresses",
        )?,
        users: read_text(
            rule,
            place::USERS,
            "INetFwRule3::get_LocalUserAuthorizedList",
        )?,
        blocks: is(place::DIRECTION, "INetFwRule::get_Direction", OUT)?
            && is(place::ACTION, "INetFwRule::get_Action", BLOCK)?
            && is(place::PROFILES, "INetFwRule::get_Profiles", EVERYWHERE)?
            && is_on(rule)?,
    })
}

fn is_on(rule: &Object) -> Result<bool, CallError> {
    type Get = unsafe extern "system" fn(*mut c_void, *mut i16) -> HRESULT;
    let mut on = 0;
    // SAFETY: the rule has this method at that place.
    let get: Get = unsafe { rule.method(place::ENABLED) };
    // SAFETY: the rule lives; the result is ours to write.
    let result = unsafe { get(rule.as_ptr(), &raw mut on) };
    succeeded(result, "INetFwRule::get_Enabled", "")?;
    Ok(on == TRUE)
}

/// What the second half's name ends in.
const SECOND: &str = " (UDP)";

fn second(name: &str) -> String {
    format!("{name}{SECOND}")
}

/// The rule of the plan that the rules of the firewall are; where they are none, one that no plan has.
fn join(name: &str, seen: &[Seen]) -> Option<FirewallRule> {
    let first = seen.iter().find(|one| one.name == name).or(seen.first())?;
    let whole = read(first).filter(|rule| {
        let halves: Vec<i32> = seen.iter().map(|one| one.protocol).collect();
        let alike = seen.iter().all(|one| read(one).as_ref() == Some(rule));
        let complete = if rule.remote_ports.is_empty() {
            halves == [ANY]
        } else {
            halves.len() == 2 && WITH_PORTS.iter().all(|one| halves.contains(one))
        };
        alike && complete
    });
    Some(match whole {
        Some(rule) => FirewallRule {
            name: name.to_owned(),
            ..rule
        },
        None => FirewallRule {
            name: name.to_owned(),
            // No plan has a rule of this grouping.
            grouping: format!("{} (changed)", first.grouping),
            user: Trustee::Group,
            remote_ports: Vec::new(),
            remote_addresses: vec![first.addresses.clone()],
        },
    })
}

fn read(seen: &Seen) -> Option<FirewallRule> {
    seen.blocks.then_some(())?;
    Some(FirewallRule {
        name: String::new(),
        grouping: seen.grouping.clone(),
        user: Trustee::Sid(read_user(&seen.users)?),
        remote_ports: read_ports(&seen.ports)?,
        remote_addresses: read_addresses(&seen.addresses)?,
    })
}

#[cfg(test)]
mod tests {
    use ringfence_nt::Sid;

    use super::*;

    fn seen(name: &str, protocol: i32) -> Seen {
        Seen {
            name: name.to_owned(),
            grouping: "Ringfence".to_owned(),
            protocol,
            ports: "1-19999".to_owned(),
            addresses: "127.0.0.0/255.0.0.0".to_owned(),
            users: render_user(Sid::USERS),
            blocks: true,
        }
    }

    #[test]
    fn two_halves_are_one_rule_and_half_of_one_is_another() {
        let both = [seen("x", 6), seen("x (UDP)", 17)];
        let rule = join("x", &both).unwrap();
        assert_eq!(
            (rule.grouping.as_str(), rule.name.as_str()),
            ("Ringfence", "x")
        );
        assert_eq!(rule.user, Trustee::Sid(Sid::USERS));
        assert_eq!(rule.remote_addresses, ["127.0.0.0-127.255.255.255"]);
        let [tcp, udp] = both;
        let changed = |seen: &[Seen]| join("x", seen).unwrap().grouping != "Ringfence";
        assert!(changed(std::slice::from_ref(&tcp)) && changed(std::slice::from_ref(&udp)));
        let off = Seen {
            blocks: false,
            ..udp.clone()
        };
        assert!(changed(&[tcp.clone(), off]));
        let wider = Seen {
            ports: "1-2".to_owned(),
            ..udp
        };
        assert!(changed(&[tcp, wider]));
        assert_eq!(join("x", &[]), None);
        // One of which a part can't be read is there, and is no rule of a plan.
        let unread = Seen {
            blocks: false,
            users: String::new(),
            ..seen("x", ANY)
        };
        assert!(changed(&[unread]));
    }

    // Negative: wine makes the object, and it holds no rules.
    #[test]
    fn a_rule_that_was_added_is_there_or_the_call_says_why_not() {
        let rule = FirewallRule {
            name: format!("ringfence-test-{}", std::process::id()),
            grouping: "ringfence-test".to_owned(),
            user: Trustee::Sid(Sid::USERS),
            remote_ports: Vec::new(),
            remote_addresses: vec!["192.0.2.1".to_owned()],
        };
        let tried = Firewall::open().and_then(|firewall| {
            firewall.add(&rule)?;
            let there = firewall.rules(&rule.name)?;
            firewall.remove(&rule.name)?;
            Ok(there)
        });
        match tried {
            Ok(there) => assert!(there == [rule] || there.is_empty()),
            Err(error) => assert!(error.error.0 != 0 && !error.call.is_empty()),
        }
    }
}
