//! The local sandbox of crm-autopilot: what can only be had here as a stand-in, and the engine it all runs on.

pub mod samples;
pub mod stand_ins;
