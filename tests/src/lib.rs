//! The local sandbox of crm-autopilot: what can only be had here as a stand-in, the engine it all runs on, and the
//! means to look at what a stack has done.

pub mod customers;
pub mod demo;
pub mod local_engine;
pub mod logs_insights;
pub mod metrics;
pub mod named;
pub mod operate;
pub mod samples;
pub mod simulate;
pub mod stack_view;
pub mod stand_ins;
pub mod world;
