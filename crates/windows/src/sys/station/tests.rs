use super::*;

fn described(sddl: &str) -> SecurityDescriptor {
    SecurityDescriptor::from_sddl(sddl).unwrap()
}

/// SYSTEM and a session everything, a group to use it.
const WANTED: &str = "O:SYG:SYD:P(A;;0xf01ff;;;SY)(A;;0xe0000000;;;BU)(A;;0xf01ff;;;S-1-0-1-2-3)";

#[test]
fn a_list_with_other_rights_is_another_list() {
    let kind = SecurableKind::Desktop;
    let wanted = described(WANTED);
    let fits = |sddl: &str| {
        let there = described(sddl);
        missing_entries(&wanted, &there, kind).is_empty() && gives_no_more(&there, &wanted, kind)
    };
    assert!(fits(WANTED), "control");
    let start = "O:SYG:SYD:P(A;;0xf01ff;;;SY)(A;;0xf01ff;;;S-1-0-1-2-3)";
    // Replaced by what they mean.
    assert!(fits(&format!("{start}(A;;0x201ff;;;BU)")), "control");
    for other in [
        String::new(),
        "(A;;0x601ff;;;BU)".to_owned(),
        "(A;;GA;;;BU)".to_owned(),
        "(A;;0x0;;;BU)".to_owned(),
        "(D;;0x201ff;;;BU)".to_owned(),
        "(A;;0x201ff;;;BU)(A;;WD;;;BU)".to_owned(),
        "(A;;0x201ff;;;BU)(A;;RC;;;WD)".to_owned(),
    ] {
        assert!(!fits(&format!("{start}{other}")), "{other}");
    }
    assert!(!fits("O:SYG:SYD:NO_ACCESS_CONTROL"));
}

#[test]
fn who_keeps_the_turn_holds_nobody_up_for_ever() {
    let name = format!(r"Local\ringfence-test-{}", std::process::id());
    let first = Turn::take_named(&name, 0).unwrap();
    let take = |milliseconds| {
        std::thread::scope(|scope| {
            let name = &name;
            let other = scope.spawn(move || Turn::take_named(name, milliseconds).is_some());
            other.join().unwrap()
        })
    };
    assert!(!take(10));
    drop(first);
    assert!(take(10_000), "control");
}

#[test]
fn the_process_is_back_in_its_station_however_a_desktop_comes_out() {
    // SAFETY: no precondition.
    let here = || unsafe { GetProcessWindowStation() } as usize;
    let home = here();
    let everyone = described("O:SYG:SYD:P(A;;0xf037f;;;WD)");
    let station = Station::of_this_logon(&everyone).unwrap();
    let moved = Moved::into(&station).unwrap();
    let there = here();
    drop(moved);
    assert_ne!(there, home, "control");
    assert_eq!(here(), home);
    let _ = station.desktop("a\\b", &everyone);
    assert_eq!(here(), home);
    let _stays = stay();
}

/// Wine keeps no list of a station; where one is kept, a session's entry comes and goes, and others' stay.
#[test]
fn a_session_that_has_ended_is_in_no_list() {
    let station = Station::of_this_logon(&described("O:SYG:SYD:P(A;;0xf037f;;;WD)")).unwrap();
    let (ours, other): (Sid, Sid) = (
        Sid::new(0, &[1, 2, 3]).unwrap(),
        Sid::new(0, &[1, 2, 4]).unwrap(),
    );
    let named = |sid| {
        let list = entries(&user_object_dacl(station.0).unwrap());
        list.iter().any(|ace| ace.sid == sid)
    };
    let both = described("O:SYG:SYD:P(A;;0xf037f;;;S-1-0-1-2-3)(A;;0xf037f;;;S-1-0-1-2-4)");
    match station.admit(&both) {
        Ok(()) => {
            assert!(named(ours) && named(other), "control");
            station.dismiss(ours).unwrap();
            assert!(!named(ours) && named(other));
            station.dismiss(other).unwrap();
            station.dismiss(other).unwrap();
            assert!(!named(other));
        }
        Err(error) => assert!(
            matches!(error.error.0, 50 | 1338),
            "{error}: {}",
            error.error
        ),
    }
}
