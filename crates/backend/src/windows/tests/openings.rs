//! What the planner plans for a launch reaches the runner whole.

use ringfence_nt::Sid;
use ringfence_plan::windows::sids::{SidShape, session};

use super::stored::stored_plan;
use crate::windows::runner::{FORMAT, Opening, Request};

#[test]
fn a_planned_launch_fits_a_frame_and_arrives_as_it_was_planned() {
    for case in ["windows-plain", "windows-german", "windows-same-user"] {
        let plan = stored_plan(case);
        let launch = plan.launch.clone().unwrap();
        if let Some(pipe) = &launch.pipe {
            let cap = u32::try_from(FORMAT.max_body).unwrap();
            assert_eq!(pipe.frame_limit_bytes, cap, "{case}");
        }
        let opening = Opening {
            launch,
            session: session(SidShape::Null, 7),
            person: plan.person,
            desktop: r"Service-0x0-1$\ringfence".to_owned(),
            roots: plan.roots.iter().map(|root| root.object.clone()).collect(),
            stay: plan.emptiable().cloned().collect(),
        };
        assert_ne!(opening.session, Sid::NULL);
        let request = Request::Open(Box::new(opening));
        let mut frame = Vec::new();
        FORMAT.encode(&request, &mut frame).unwrap();
        // Far from the cap, so that a large policy fits too.
        assert!(
            frame.len() < FORMAT.max_body / 16,
            "{case}: {}",
            frame.len()
        );
        assert_eq!(FORMAT.read(&mut frame.as_slice()).unwrap(), Some(request));
    }
}
