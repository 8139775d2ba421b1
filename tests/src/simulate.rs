//! Plays a customer's story through the real rules of the onboarding in virtual time, as `make simulate` does: for whoever
//! edits the mails, the booking page or the delays and wants to see what a customer gets of it.

use clap::Args;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::local_engine::project_root;
use onboarding_transitions::apply::Delays;
use onboarding_transitions::customer::{Customer, Progress};
use onboarding_transitions::hours::SendingHours;
use onboarding_transitions::mail::Templates;
use onboarding_transitions::page::PageSettings;
use onboarding_transitions::ports::Settings;
use onboarding_transitions::simulator::{self, Act, Line, STORIES, Sent, SimulationError, Simulator, Story};
use onboarding_transitions::step::MailKind;
use shared::configuration::parse_duration;

/// The customer of every story.
const CUSTOMER: &str = "rosa@fabrikam.example";

/// When every story begins: Monday, 30 November 2026, at 9:00 UTC, so that one play can be compared with the next.
const BEGINS: Timestamp = Timestamp::constant(1_796_029_200, 0);

/// Where the mails and the booking page are edited.
const EDITED: &str = "functions/onboarding-transitions";

/// The name that stands for every story.
const ALL: &str = "all";

/// The longest delay that the template takes.
const LONGEST_DELAY: Duration = Duration::from_hours(9999);

/// How long a story is watched when its delays are over: a call can be booked days ahead, and mail can wait for a week.
const AFTERWARDS: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How `make` calls a simulation.
const HOW_TO_PLAY: &str = "\
Play one:      make simulate STORY=books
Play them all: make simulate STORY=all
With others of the template's parameters:
               make simulate STORY=changes FOLLOW_UP=1d NUDGE=90m ESCALATE=48h SENDING_HOURS=\"Mon-Fri 08:00-18:00\"
With the subject and the body of every mail:
               make simulate STORY=books MAILS=1";

/// What a simulation can be told. Values are read by [`simulate`], whose errors name them as `make` does.
#[derive(Debug, Clone, Default, Args)]
pub struct Arguments {
    /// The name of a story, or `all`; none to list the stories.
    #[arg(allow_hyphen_values = true)]
    story: Option<String>,
    /// How long after the welcome mail the follow-up comes, such as 48h.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    follow_up: Option<String>,
    /// How long after a sign of life the nudge comes.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    nudge: Option<String>,
    /// How long after an unanswered mail people are told.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    escalate: Option<String>,
    /// When mail may go, such as Mon-Fri 08:00-18:00 in the customer's zone, where it is known; at any time if this is not given.
    #[arg(long, value_name = "HOURS", allow_hyphen_values = true)]
    sending_hours: Option<String>,
    /// Show the subject and the body of every mail too.
    #[arg(long)]
    show_mails: bool,
}

/// A simulation cannot be played, or shows that something is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// There is no such story.
    #[error("STORY is `{0}`, which is no story. There are:\n{stories}\n  {ALL:<10} all of them", stories = stories())]
    UnknownStory(String),
    /// An option cannot be used.
    #[error("{option} is `{value}`: {accepted}")]
    BadOption {
        /// Its name, as `make` takes it.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it can be.
        accepted: String,
    },
    /// A template or the file of the booking page cannot be used.
    #[error(transparent)]
    Settings(#[from] SimulationError),
    /// A file that is edited cannot be read.
    #[error("{file} cannot be read", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something was given up.
    #[error("{}", gave_up(.0))]
    DeadLetters(Vec<DeadLetters>),
}

/// What a story left in the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The name of the story.
    pub story: &'static str,
    /// Why each message was given up.
    pub reasons: Vec<String>,
}

fn gave_up(stories: &[DeadLetters]) -> String {
    let told = stories.iter().map(|DeadLetters { story, reasons }| {
        let messages = if reasons.len() == 1 { "1 message" } else { &format!("{} messages", reasons.len()) };
        format!("the story {story} ended with {messages} in the dead-letter queue: {}", reasons.join("; "))
    });
    told.collect::<Vec<_>>().join("\n")
}

/// The stories in lines.
fn stories() -> String {
    STORIES.map(|(name, about, _)| format!("  {name:<10} {about}")).join("\n")
}

/// Plays the stories that are asked for; lists them if none is. Lines for people go to `say`.
///
/// # Errors
/// If there is no such story, an option or a template cannot be used, or a message was given up.
pub fn simulate(arguments: &Arguments, say: impl Fn(&str)) -> Result<(), SimulateError> {
    let settings = settings(arguments)?;
    let chosen: Vec<Story> = match arguments.story.as_deref() {
        None => {
            say(&format!("The stories:\n{}\n\n{HOW_TO_PLAY}", stories()));
            return Ok(());
        }
        Some(ALL) => STORIES.to_vec(),
        Some(wanted) => match STORIES.into_iter().find(|(name, ..)| *name == wanted) {
            Some(story) => vec![story],
            None => return Err(SimulateError::UnknownStory(wanted.to_owned())),
        },
    };
    say(&set_to(&settings.delays, arguments.sending_hours.as_deref()));
    let played: Vec<Played> = chosen.iter().map(|story| Played::of(story, &settings)).collect();
    for (one, (name, about, _)) in played.iter().zip(&chosen) {
        say(&format!("\n== {name}: {about}\n{}\n{}", one.moments(), one.summary()));
        if arguments.show_mails {
            one.sent.iter().for_each(|mail| say(&format!("\n{}", in_full(mail))));
        }
    }
    if played.len() > 1 {
        say(&format!("\n== all of them\n{}", overview(&played)));
    }
    let dead: Vec<DeadLetters> = played.iter().filter_map(Played::dead_letters).collect();
    if dead.is_empty() { Ok(()) } else { Err(SimulateError::DeadLetters(dead)) }
}

/// What the rules are set to: as a user would have them, but for what was given.
fn settings(arguments: &Arguments) -> Result<Settings, SimulateError> {
    let mut settings = edited(&project_root().join(EDITED))?;
    let delays = &mut settings.delays;
    for (option, value, delay) in [
        ("FOLLOW_UP", &arguments.follow_up, &mut delays.follow_up),
        ("NUDGE", &arguments.nudge, &mut delays.nudge),
        ("ESCALATE", &arguments.escalate, &mut delays.escalate),
    ] {
        if let Some(value) = value {
            *delay = delay_of(value).map_err(|accepted| bad(option, value, accepted))?;
        }
    }
    if let Some(value) = &arguments.sending_hours {
        let hours = SendingHours::parse(value).map_err(|accepted| bad("SENDING_HOURS", value, accepted.to_string()))?;
        settings.hours = Some(hours);
    }
    Ok(settings)
}

/// The settings with the mails and the booking page as they stand in a folder now, so that an edit shows without a build.
fn edited(folder: &Path) -> Result<Settings, SimulateError> {
    let read =
        |file: PathBuf| std::fs::read_to_string(&file).map_err(|source| SimulateError::Unreadable { file, source });
    let mut mails = Vec::new();
    for kind in MailKind::ALL {
        let text = read(folder.join("mail").join(format!("{}.html", kind.name())))?;
        // Templates are made of texts that never go, as those are that a function is built with.
        mails.push((kind, &*text.leak()));
    }
    let page = PageSettings::parse(&read(folder.join("scheduler.toml"))?).map_err(SimulationError::from)?;
    let templates = Templates::of(&mails).map_err(SimulationError::from)?;
    Ok(simulator::settings_with(page, templates)?)
}

/// A delay as the template takes it.
fn delay_of(text: &str) -> Result<Duration, String> {
    let delay = parse_duration(text).map_err(|problem| problem.to_string())?;
    if delay.is_zero() || delay > LONGEST_DELAY {
        return Err(format!("a delay is at least 1s and at most {}", in_short(LONGEST_DELAY)));
    }
    Ok(delay)
}

fn bad(option: &'static str, value: &str, accepted: String) -> SimulateError {
    SimulateError::BadOption { option, value: value.to_owned(), accepted }
}

/// A duration in the form in which it is given.
fn in_short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds % 3600, seconds % 60) {
        (0, _) => format!("{}h", seconds / 3600),
        (_, 0) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

fn set_to(delays: &Delays, hours: Option<&str>) -> String {
    format!(
        "The follow-up comes after {}, the nudge after {}, the escalation after {}; mail goes {}. {CUSTOMER} signs up on {}. All times are UTC.",
        in_short(delays.follow_up),
        in_short(delays.nudge),
        in_short(delays.escalate),
        hours.map_or_else(
            || "at any hour".to_owned(),
            |hours| format!("{}, where the customer's zone is known", hours.trim())
        ),
        BEGINS.strftime("%A, %-d %B %Y at %H:%M"),
    )
}

/// A story that was played to its end.
struct Played {
    name: &'static str,
    customer: Option<Customer>,
    lines: Vec<Line>,
    sent: Vec<Sent>,
    timers: Vec<String>,
    alerts: Vec<String>,
    dead: Vec<String>,
}

impl Played {
    fn of((name, _, happenings): &Story, settings: &Settings) -> Self {
        let mut simulator = Simulator::new(BEGINS, settings.clone());
        for (hours, act) in *happenings {
            simulator.run_until(later(BEGINS, SignedDuration::from_hours(*hours)));
            let act = act();
            let (who, what) = told(&act, simulator.world.now());
            if let Some(mail) = unsent_mail_before(&act, &simulator) {
                simulator.world.say(who, &format!("{what}: left out, for the mail {mail} was not sent"));
                continue;
            }
            simulator.world.say(who, &what);
            simulator.act(CUSTOMER, &act);
            simulator.run_for(SignedDuration::ZERO);
        }
        let delays = &settings.delays;
        let delays = delays.follow_up.saturating_add(delays.nudge).saturating_add(delays.escalate);
        simulator.run_for(SignedDuration::try_from(delays).unwrap_or_default() + AFTERWARDS);
        let world = &simulator.world;
        Self {
            name,
            customer: simulator.customer(CUSTOMER),
            lines: world.lines(),
            sent: world.sent(),
            // A timer's name begins with what it is for.
            timers: world.timers().iter().filter_map(|name| name.split('-').next()).map(str::to_owned).collect(),
            alerts: world.alerts(),
            dead: simulator.dead.iter().map(|(_, class, reason)| format!("{class}: {reason}")).collect(),
        }
    }

    fn standing(&self) -> String {
        let Some(customer) = &self.customer else { return "nobody has signed up".to_owned() };
        let bounced = customer.bounced.as_ref().map(|bounced| format!("; mail comes back ({})", bounced.kind));
        format!("{}{}", customer.standing, bounced.unwrap_or_default())
    }

    fn dead_letters(&self) -> Option<DeadLetters> {
        let reasons = self.dead.clone();
        (!reasons.is_empty()).then_some(DeadLetters { story: self.name, reasons })
    }

    /// What happened, one thing a line.
    fn moments(&self) -> Table {
        let mut table = table(&["when", "who or what", "what happens"]);
        for line in &self.lines {
            table.add_row([when(line.at), line.kind.to_owned(), line.text.clone()]);
        }
        table
    }

    /// What came of it.
    fn summary(&self) -> Table {
        let mut table = table(&["in the end", ""]);
        let list = |entries: Vec<String>| if entries.is_empty() { "none".to_owned() } else { entries.join("\n") };
        let mails = self.sent.iter().map(|mail| format!("{}: {} “{}”", when(mail.at), step_of(mail), mail.subject));
        table.add_row(["the customer stands at".to_owned(), self.standing()]);
        table.add_row(["mails sent".to_owned(), list(mails.collect())]);
        let unsent = self.customer.iter().flat_map(|customer| &customer.mails);
        let unsent: Vec<String> = unsent
            .filter(|(_, mail)| mail.progress != Progress::Sent)
            .map(|(step, mail)| match (mail.progress, &mail.why) {
                (Progress::Dropped, Some(why)) => format!("{step}: {why}"),
                (_, Some(why)) => format!("{step}, which is still open: {why}"),
                (_, None) => format!("{step}, which is still open"),
            })
            .collect();
        if !unsent.is_empty() {
            table.add_row(["mails not sent".to_owned(), list(unsent)]);
        }
        table.add_row(["timers left".to_owned(), list(self.timers.clone())]);
        table.add_row(["alerts".to_owned(), list(self.alerts.clone())]);
        table.add_row(["dead letters".to_owned(), list(self.dead.clone())]);
        table
    }
}

/// The mail without which an act cannot happen, if it was not sent.
fn unsent_mail_before(act: &Act, simulator: &Simulator) -> Option<&'static str> {
    let mail = match act {
        Act::SignUp(_) | Act::Complete(_) => return None,
        Act::Open(mail) | Act::Click(mail) | Act::Scan(mail) | Act::Reply(mail) | Act::OutOfOffice(mail) => mail,
        // It holds the address of the booking page, and is the first that can come back.
        Act::Bounce | Act::Book(..) | Act::Reschedule(..) | Act::Cancel(_) => "welcome",
    };
    let run = simulator.customer(CUSTOMER).map_or(0, |customer| customer.run);
    (!simulator.mails_to(CUSTOMER).contains_key(&format!("{run}.{mail}"))).then_some(mail)
}

/// Who does it, and what, in words.
fn told(act: &Act, now: Timestamp) -> (&'static str, String) {
    let call = |after: &SignedDuration| when(later(now, *after));
    match act {
        Act::SignUp(_) => ("product", "tells that the customer has signed up".to_owned()),
        Act::Complete(_) => ("product", "tells that the customer is set up".to_owned()),
        Act::Open(step) => ("customer", format!("opens the mail {step}")),
        Act::Click(step) => ("customer", format!("clicks a link in the mail {step}")),
        Act::Scan(step) => ("scanner", format!("follows every link in the mail {step}")),
        Act::Reply(step) => ("customer", format!("answers the mail {step}")),
        Act::OutOfOffice(step) => ("customer", format!("is away: an absence notice answers the mail {step}")),
        Act::Bounce => ("provider", "sends the mail back".to_owned()),
        Act::Book(_, after) => ("customer", format!("books a call for {}", call(after))),
        Act::Reschedule(_, after) => ("customer", format!("moves the call to {}", call(after))),
        Act::Cancel(_) => ("customer", "cancels the call".to_owned()),
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A time as the day counted from the beginning, the weekday and the time of day.
fn when(at: Timestamp) -> String {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let days = day(at).duration_since(day(BEGINS)).as_hours() / 24;
    format!("day {days} {}", at.strftime("%a %H:%M"))
}

/// Which mail of its run it is.
fn step_of(mail: &Sent) -> &str {
    mail.label.rsplit('.').next().unwrap_or_default()
}

fn in_full(mail: &Sent) -> String {
    let Sent { subject, body, to, .. } = mail;
    format!("-- {} on {}\nTo: {to}\nSubject: {subject}\n\n{body}", step_of(mail), when(mail.at))
}

fn overview(played: &[Played]) -> Table {
    let mut table = table(&["story", "the customer stands at", "mails sent", "alerts", "timers left", "dead letters"]);
    for one in played {
        let mails: Vec<&str> = one.sent.iter().map(step_of).collect();
        let count = |entries: &[String]| entries.len().to_string();
        let [alerts, timers, dead] = [&one.alerts, &one.timers, &one.dead].map(|entries| count(entries));
        table.add_row([one.name.to_owned(), one.standing(), mails.join(", "), alerts, timers, dead]);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(150);
    table.set_header(header.to_vec());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::Arc;

    fn story(name: &str) -> Arguments {
        Arguments { story: Some(name.to_owned()), ..Arguments::default() }
    }

    /// What is said, in lines, and the error in words.
    fn said(arguments: &Arguments) -> (String, Option<String>) {
        let said = RefCell::new(String::new());
        let result = simulate(arguments, |line| said.borrow_mut().extend([line, "\n"]));
        (said.into_inner(), result.err().map(|error| error.to_string()))
    }

    fn refusal(arguments: &Arguments) -> String {
        let (said, error) = said(arguments);
        assert_eq!(said, "", "nothing is played");
        error.expect("an error")
    }

    fn play(name: &str, settings: &Settings) -> Played {
        Played::of(STORIES.iter().find(|(story, ..)| *story == name).expect("a story"), settings)
    }

    fn mails(played: &Played) -> Vec<(&str, String)> {
        played.sent.iter().map(|mail| (step_of(mail), when(mail.at))).collect()
    }

    #[test]
    fn every_story_comes_to_its_end_without_dead_letters_or_timers_left() {
        for story in &STORIES {
            let played = Played::of(story, &settings(&Arguments::default()).expect("settings"));
            assert_eq!((&played.dead, &played.timers), (&Vec::new(), &Vec::new()), "{}", played.name);
            assert!(!played.sent.is_empty(), "{}", played.name);
            assert!(!played.moments().to_string().contains("left out"), "{}", played.name);
        }
        let (said, error) = said(&story(ALL));
        assert_eq!(error, None);
        for (name, about, _) in STORIES {
            assert!(said.contains(&format!("== {name}: {about}\n")), "{name}");
        }
    }

    #[test]
    fn mails_and_page_are_those_of_the_files_that_the_function_is_built_with() {
        let built_in = simulator::settings().expect("settings");
        let read = settings(&Arguments::default()).expect("settings");
        assert_eq!(read.page, built_in.page);
        // The address of a booking page is made up anew for each customer.
        let sent = |story: &Story, settings: &Settings| {
            let played = Played::of(story, settings);
            let slug = played.customer.and_then(|customer| customer.page).expect("a page").slug;
            let told = |mail: Sent| (step_of(&mail).to_owned(), mail.subject, mail.body.replace(&slug, "…"));
            played.sent.into_iter().map(told).collect::<Vec<_>>()
        };
        for story in &STORIES {
            assert_eq!(sent(story, &read), sent(story, &built_in));
        }
    }

    #[test]
    fn edit_of_a_mail_or_of_the_page_shows_without_a_build_and_a_mistake_in_it_is_named() {
        let folder = std::env::temp_dir().join(format!("crm-autopilot-simulate-{}", std::process::id()));
        let (mails, page) = (folder.join("mail"), folder.join("scheduler.toml"));
        std::fs::create_dir_all(&mails).expect("a folder");
        for kind in MailKind::ALL {
            let text = format!("Subject: {} as edited\n\n<p>Hello</p>\n", kind.name());
            std::fs::write(mails.join(format!("{}.html", kind.name())), text).expect("written");
        }
        std::fs::copy(project_root().join(EDITED).join("scheduler.toml"), &page).expect("copied");
        let played = play("silent", &edited(&folder).expect("settings"));
        let subjects: Vec<&str> = played.sent.iter().map(|mail| mail.subject.as_str()).collect();
        assert_eq!(subjects, ["welcome as edited", "follow_up as edited"]);
        let mistake = || edited(&folder).map(drop).expect_err("a mistake").to_string();
        std::fs::write(mails.join("nudge.html"), "Subject: Nudge\n\n{% if %}\n").expect("written");
        assert!(mistake().starts_with("the template mail/nudge.html: "), "{}", mistake());
        std::fs::write(mails.join("nudge.html"), "Subject: Nudge\n\n").expect("written");
        std::fs::write(&page, "title = 1").expect("written");
        assert!(mistake().starts_with("scheduler.toml cannot be read: "), "{}", mistake());
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn file_that_is_not_there_is_named() {
        let error = edited(Path::new("/nowhere")).map(drop).expect_err("an error");
        assert_eq!(error.to_string(), "/nowhere/mail/welcome.html cannot be read");
    }

    #[test]
    fn error_about_an_unknown_story_lists_those_that_exist() {
        let error = refusal(&story("sylent"));
        assert!(error.starts_with("STORY is `sylent`, which is no story."), "{error}");
        for (name, about, _) in STORIES {
            assert!(error.contains(name) && error.contains(about), "{error}");
        }
    }

    #[test]
    fn without_a_story_those_that_exist_are_listed_and_none_is_played() {
        let (said, error) = said(&Arguments::default());
        assert_eq!(error, None);
        assert!(STORIES.iter().all(|(name, about, _)| said.contains(name) && said.contains(about)), "{said}");
        assert!(said.contains("make simulate STORY=") && !said.contains("=="), "{said}");
    }

    #[test]
    fn delays_are_those_that_were_given() {
        let given = Arguments {
            follow_up: Some("1d".to_owned()),
            nudge: Some("90m".to_owned()),
            escalate: Some("12h".to_owned()),
            ..Arguments::default()
        };
        let settings = settings(&given).expect("settings");
        let silent = play("silent", &settings);
        let sent = |step, at: &str| (step, at.to_owned());
        assert_eq!(mails(&silent), [sent("welcome", "day 0 Mon 09:00"), sent("follow_up", "day 1 Tue 09:00")]);
        let told = silent.lines.iter().filter(|line| line.kind == "alert").map(|line| when(line.at));
        assert_eq!(told.collect::<Vec<_>>(), ["day 1 Tue 21:00"]);
        assert_eq!(mails(&play("clicks", &settings))[1], sent("nudge", "day 0 Mon 15:30"));
    }

    #[test]
    fn mail_waits_for_the_sending_hours_that_were_given() {
        let books = |hours: &str| {
            let given = Arguments { sending_hours: Some(hours.to_owned()), ..Arguments::default() };
            play("books", &settings(&given).expect("settings"))
        };
        // The call is over at 16:45 in Stockholm, where the customer is, and seven hours later the customer is set up.
        assert_eq!(mails(&books("Wed 19:00-20:00"))[2], ("resources", "day 2 Wed 18:00".to_owned()));
        let too_late = books("Sat 10:00-12:00");
        assert_eq!(mails(&too_late).len(), 2);
        let summary = too_late.summary().to_string();
        assert!(summary.contains("mails not sent") && summary.contains("resources: "), "{summary}");
    }

    #[test]
    fn bad_option_is_named_with_its_value_and_what_is_accepted() {
        let duration = "a duration is a whole number followed by s, m, h or d, such as 48h or 90m";
        let bounds = "a delay is at least 1s and at most 9999h";
        for (value, accepted) in
            [("soon", duration), ("", duration), ("-5h", duration), ("0h", bounds), ("99999h", bounds)]
        {
            for (option, arguments) in [
                ("FOLLOW_UP", Arguments { follow_up: Some(value.to_owned()), ..story("silent") }),
                ("NUDGE", Arguments { nudge: Some(value.to_owned()), ..story("silent") }),
                ("ESCALATE", Arguments { escalate: Some(value.to_owned()), ..story("silent") }),
            ] {
                assert_eq!(refusal(&arguments), format!("{option} is `{value}`: {accepted}"));
            }
        }
        let hours = refusal(&Arguments { sending_hours: Some("always".to_owned()), ..story("silent") });
        assert!(hours.starts_with("SENDING_HOURS is `always`: ") && hours.contains("Mon-Fri 08:00-18:00"), "{hours}");
    }

    #[test]
    fn delays_are_told_in_the_form_in_which_they_are_given() {
        for text in ["48h", "90m", "5s", "9999h"] {
            assert_eq!(delay_of(text).map(in_short).as_deref(), Ok(text));
        }
    }

    #[test]
    fn subject_and_body_of_every_mail_are_shown_where_that_is_asked_for() {
        let body = "<p>Hello Rosa,</p>";
        let (with, _) = said(&Arguments { show_mails: true, ..story("silent") });
        assert_eq!(with.matches(body).count(), 2, "{with}");
        assert!(with.contains("\nSubject: Welcome to Northwind, Rosa\n"), "{with}");
        assert!(!said(&story("silent")).0.contains(body));
    }

    #[test]
    fn template_that_names_what_its_mail_has_not_ends_in_an_error_that_names_it() {
        let mut settings = settings(&Arguments::default()).expect("settings");
        let broken = [(MailKind::Welcome, "Subject: Welcome\n\n<p>See you on {{ call.day }}</p>\n")];
        settings.templates = Arc::new(Templates::of(&broken).expect("it can be read"));
        let played = play("opens", &settings);
        assert!(played.moments().to_string().contains("opens the mail welcome: left out"), "{}", played.moments());
        let dead = played.dead_letters().expect("dead letters");
        let error = SimulateError::DeadLetters(vec![dead]).to_string();
        assert!(error.starts_with("the story opens ended with 1 message in the dead-letter queue: "), "{error}");
        assert!(error.contains("the template mail/welcome.html: "), "{error}");
    }
}
