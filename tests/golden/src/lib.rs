//! Plans for stored policies and stored hosts, compared with stored text: `cases/NAME/{policy.toml, facts.json,
//! plan.txt}`.
//!
//! Nothing of this machine is looked at: every case gives the same text everywhere. `RINGFENCE_BLESS=1` rewrites
//! `plan.txt`; the difference is read like code.
