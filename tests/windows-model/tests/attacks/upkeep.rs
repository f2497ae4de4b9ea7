//! What set-up refuses and what uninstall leaves (18, 20).

use ringfence_nt::{AccessMask, Ace, AceFlags, Dacl, Sid};
use ringfence_plan::windows::facts::{AccessControl, VolumeKind, WindowsFacts};
use ringfence_plan::windows::step::PersonStep;
use ringfence_plan::windows::{PlanError, plan};
use ringfence_windows_model::carry::undo;
use ringfence_windows_model::scene::{Scene, ledger};

use super::attack;

#[test]
fn attack_18_volumes_without_lists() {
    attack(18, "FAT, NULL DACL, network volumes", |class| {
        let mut scene = Scene::new(class);
        let ann = scene.ann.clone();
        scene.host.directory("D:\\ws", ann.sid);
        let policy = ann.policy("D:\\ws", "");
        let facts = || {
            let mut facts = scene.facts(&ann, "D:\\ws", "");
            facts.write_class = None;
            facts
        };
        let refused = |change: &dyn Fn(&mut WindowsFacts)| {
            let mut facts = facts();
            change(&mut facts);
            matches!(
                plan(&policy, &facts, &ledger(&ann)),
                Err(PlanError::ForbiddenRoot { .. })
            )
        };
        assert!(!refused(&|_| ()), "control: an NTFS volume is accepted");
        let without_list = |facts: &mut WindowsFacts| {
            for fact in &mut facts.objects {
                if let Some(own) = &mut fact.descriptor
                    && fact.object.path.to_string() == "D:\\ws"
                {
                    own.dacl = Dacl::Null;
                }
            }
        };
        refused(&|facts| {
            for volume in &mut facts.volumes {
                volume.access_control = AccessControl::None;
            }
        }) && refused(&|facts| {
            for volume in &mut facts.volumes {
                volume.kind = VolumeKind::Network;
            }
        }) && refused(&without_list)
    });
}

#[test]
fn attack_20_uninstall_leaves_nothing() {
    attack(
        20,
        "uninstall leaves nothing and keeps what others changed",
        |class| {
            let mut scene = Scene::new(class);
            let ann = scene.ann.clone();
            scene.project(&ann.path("ws"), ann.sid);
            let start = scene.host.clone();
            let first = scene.start(&ann, &ann.path("ws"), "").unwrap();
            let second = scene
                .start(&ann, &ann.path("ws"), "[filesystem]\ngit = \"full\"\n")
                .unwrap();
            assert!(first.done.len() > 10 && !second.done.is_empty(), "control");
            // Somebody else changes one object meanwhile.
            let src = scene.host.find(&ann.path("ws\\src"));
            let theirs = Ace::allow(AceFlags::NONE, AccessMask::FILE_READ_DATA, Sid::GUESTS);
            let mut changed = scene.host.descriptor(src);
            if let Dacl::Present(acl) = &mut changed.dacl {
                acl.aces.insert(0, theirs);
            }
            scene.host.describe(src, changed);
            let inverses: Vec<_> = first
                .done
                .iter()
                .chain(&second.done)
                .rev()
                .map(PersonStep::inverse)
                .collect();
            undo(&mut scene.host.fs, &inverses);
            start.fs.nodes().all(|(id, was)| {
                let now = scene.host.descriptor(id);
                let mut expected = was.descriptor.as_ref().clone();
                if id == src
                    && let Dacl::Present(acl) = &mut expected.dacl
                {
                    acl.aces.insert(0, theirs);
                }
                let same = now.dacl == expected.dacl;
                if !same {
                    println!(
                        "{}: {:?} instead of {:?}",
                        scene.host.fs.path_of(id),
                        now.dacl,
                        expected.dacl
                    );
                }
                same
            })
        },
    );
}
