//! Large workspaces: the size costs the first command, and no other.

use ringfence_plan::windows::step::ObjectKind;

use super::desk::*;
const FILES: u32 = 99;

/// Where the boundary is verified at length the workspace has 300,000 objects.
#[test]
fn the_second_command_in_a_large_workspace_writes_nothing_and_looks_at_six_objects() {
    let is_long = std::env::var("RINGFENCE_MODEL").is_ok_and(|size| size == "full");
    second_command(if is_long { 3_000 } else { 150 });
}

fn second_command(directories: u32) {
    let mut desk = Desk::new();
    for directory in 0..directories {
        let path = format!("{ROOT}\\src\\d{directory}");
        desk.make(&path, ObjectKind::Directory);
        desk.make(&format!("{path}\\f"), ObjectKind::File);
    }
    let shared = desk.descriptor_at(&format!("{ROOT}\\src\\d0\\f"));
    for directory in 0..directories {
        for file in 1..FILES {
            let path = format!("{ROOT}\\src\\d{directory}\\f{file}");
            desk.files.add_file(&path, &shared).unwrap();
        }
    }
    let steps = desk.steps();
    let report = desk.apply(&steps).unwrap().walks.remove(0);
    let changed = report.progress.changed;
    assert!(changed >= u64::from(directories * (FILES + 1)), "{changed}");
    let (writes, opens, records) = (desk.files.writes, desk.files.opens, desk.store.writes());
    let again = desk.apply(&steps).unwrap();
    assert_eq!((again.changed, again.walks.len()), (0, 0));
    assert_eq!(desk.files.writes - writes, 0, "descriptors written");
    assert_eq!(desk.store.writes() - records, 0, "records written");
    assert_eq!(desk.files.opens - opens, 6);
}
