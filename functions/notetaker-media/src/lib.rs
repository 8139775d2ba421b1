//! notetaker-media: what was said in a meeting reaches its deal, and stays there.
//!
//! The rules, pure:
//! - [`words`]: summaries and transcripts in each of their forms, as text.
//! - [`action_items`]: what was promised, by whom and by when, where that is certain.
//! - [`due`]: days that a text names.
//! - [`timeline`]: what happened to a notetaker, and what people are told of it.
//! - [`public_address`]: which links may be followed.
//!
//! What carries them out:
//! - [`process`]: takes each message to its rules.
//! - [`media`]: files that are there: from the news of them to the record in the CRM.
//! - [`record`]: what the files say, and how it is written.
//! - [`archive`]: what must last.
//! - [`meeting`]: which meeting a notetaker attended.
//! - [`gather`] and [`fetch`]: fetch files while their links live.
//! - [`known`]: what is known of a notetaker, among the links.
//! - [`attendance`]: whether a notetaker gets into its meeting.
//! - [`reconcile`]: finds what Nylas has not notified of.

pub mod action_items;
pub mod archive;
pub mod attendance;
pub mod due;
pub mod fetch;
pub mod gather;
pub mod known;
pub mod media;
pub mod meeting;
pub mod process;
pub mod public_address;
pub mod reconcile;
pub mod record;
pub mod timeline;
pub mod words;

pub use process::{Further, NotetakerMedia, Ports, Provision, ReadMeetings, Settings};

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "notetaker-media";
