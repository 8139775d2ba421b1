//! What an account holds, as people see it in Pipedrive and as they change it there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::JOB_TITLE_FIELD;
use crate::stand_ins::{
    CrmContact,
    crm::{CRM_USER, SeenMail, SeenMeeting, SeenNotes, SeenStatus, SeenTask},
};

/// The user whose credential is used.
pub(super) const API_USER: u64 = 11_384_401;

#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) emails: Vec<Value>,
    pub(super) phones: Vec<Value>,
    pub(super) org_id: Option<u64>,
    pub(super) custom_fields: BTreeMap<String, Value>,
    pub(super) update_time: Timestamp,
}

#[derive(Debug)]
pub(super) struct Deal {
    pub(super) id: u64,
    pub(super) person_id: u64,
    pub(super) status: &'static str,
    pub(super) update_time: Timestamp,
}

/// An activity: its fields as answers show them, and what they do not show.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) id: u64,
    pub(super) fields: Map<String, Value>,
    pub(super) is_deleted: bool,
    pub(super) update_time: Timestamp,
    pub(super) writes: u32,
}

impl Activity {
    pub(super) fn text<'a>(&'a self, field: &str) -> Option<&'a str> {
        self.fields.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn participants(&self) -> Vec<u64> {
        let listed = self.fields.get("participants").and_then(Value::as_array).into_iter().flatten();
        let mut listed: Vec<&Value> = listed.collect();
        listed.sort_by_key(|participant| participant["primary"] != true);
        listed.into_iter().filter_map(|participant| participant["person_id"].as_u64()).collect()
    }

    fn contact_ids(&self) -> Vec<String> {
        self.participants().iter().map(u64::to_string).collect()
    }

    fn deal_id(&self) -> Option<String> {
        self.fields.get("deal_id").and_then(Value::as_u64).map(|id| id.to_string())
    }

    /// Everything that is shown beside the subject, as text.
    fn shown(&self) -> String {
        let place = self.fields.get("location").and_then(|place| place["value"].as_str());
        let note = self.text("note").map(text_of_html);
        let texts = [note.as_deref(), self.text("public_description"), place];
        texts.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    fn begins(&self) -> Option<String> {
        let day = self.text("due_date")?;
        Some(match self.text("due_time") {
            Some(time) => format!("{day}T{time}Z"),
            None => day.to_owned(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) content: String,
    pub(super) person_id: Option<u64>,
    pub(super) deal_id: Option<u64>,
    pub(super) is_deleted: bool,
    pub(super) update_time: Timestamp,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) code: String,
    pub(super) kind: String,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) email: &'static str,
    pub(super) is_active: bool,
}

#[derive(Debug)]
pub(super) struct Records {
    pub(super) persons: Vec<Person>,
    pub(super) organizations: Vec<(u64, String)>,
    pub(super) deals: Vec<Deal>,
    pub(super) activities: Vec<Activity>,
    pub(super) notes: Vec<Note>,
    pub(super) fields: Vec<Field>,
    pub(super) users: Vec<User>,
    pub(super) types: Vec<String>,
    last_id: u64,
}

/// Pipedrive keeps whole seconds.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

impl Records {
    pub(super) fn new() -> Self {
        let user = |id, email, is_active| User { id, email, is_active };
        Self {
            persons: Vec::new(),
            organizations: Vec::new(),
            deals: Vec::new(),
            activities: Vec::new(),
            notes: Vec::new(),
            fields: Vec::new(),
            users: vec![
                user(API_USER, "integrations@northwind.example", true),
                user(11_384_402, CRM_USER, true),
                user(11_384_403, "left.long.ago@northwind.example", false),
            ],
            types: ["call", "meeting", "task", "deadline", "email", "lunch"].map(str::to_owned).to_vec(),
            last_id: 1_000,
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 7;
        self.last_id
    }

    pub(super) fn new_field(&mut self, name: &str, kind: &str) -> &Field {
        let code =
            format!("{:040x}", u128::from(self.new_id()).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        self.fields.push(Field { name: name.to_owned(), code, kind: kind.to_owned() });
        &self.fields[self.fields.len() - 1]
    }

    fn job_title_code(&self) -> Option<&str> {
        self.fields.iter().find(|field| field.name == JOB_TITLE_FIELD).map(|field| field.code.as_str())
    }

    pub(super) fn add_contact(&mut self, contact: &CrmContact) -> String {
        let id = self.new_id();
        let numbered = |value: &String, primary: bool| json!({ "value": value, "primary": primary, "label": "work" });
        let org_id = contact.company.as_ref().map(|name| {
            let standing = self.organizations.iter().find(|(_, known)| known == name).map(|(id, _)| *id);
            standing.unwrap_or_else(|| {
                let id = self.new_id();
                self.organizations.push((id, name.clone()));
                id
            })
        });
        let mut custom_fields = BTreeMap::new();
        if let Some(title) = &contact.job_title {
            let standing = self.job_title_code().map(str::to_owned);
            let code = standing.unwrap_or_else(|| self.new_field(JOB_TITLE_FIELD, "varchar").code.clone());
            custom_fields.insert(code, Value::from(title.as_str()));
        }
        let mut emails = vec![numbered(&contact.email, true)];
        emails.extend(contact.other_emails.iter().map(|email| numbered(email, false)));
        self.persons.push(Person {
            id,
            name: contact.name.clone().unwrap_or_else(|| contact.email.clone()),
            emails,
            phones: contact.phone.iter().map(|phone| numbered(phone, true)).collect(),
            org_id,
            custom_fields,
            update_time: now(),
        });
        // Pipedrive has no main deal: one that is asked for is an open one like others.
        let listed = |id: &str| contact.deals.iter().any(|deal| deal["id"] == id);
        if let Some(main) = contact.primary_deal_id.as_ref().filter(|main| !listed(main)) {
            self.add_deal(main, id, "open", now());
        }
        for deal in &contact.deals {
            let status = if deal["open"] == false { "won" } else { "open" };
            let at = deal["last_activity_at"].as_str().and_then(|at| at.parse().ok()).unwrap_or_else(now);
            self.add_deal(deal["id"].as_str().unwrap_or_default(), id, status, at);
        }
        id.to_string()
    }

    /// Under the wanted id, where it is one that Pipedrive could have given and is free.
    fn add_deal(&mut self, wanted: &str, person_id: u64, status: &'static str, update_time: Timestamp) {
        let wanted = wanted.parse().ok().filter(|id| *id > 0 && self.deals.iter().all(|deal| deal.id != *id));
        let id = wanted.unwrap_or_else(|| self.new_id());
        self.deals.push(Deal { id, person_id, status, update_time });
    }

    pub(super) fn contacts(&self) -> Vec<CrmContact> {
        let value = |entry: &Value| entry["value"].as_str().unwrap_or_default().to_owned();
        let main =
            |entries: &[Value]| entries.iter().find(|entry| entry["primary"] == true).or(entries.first()).map(value);
        let company = |id: u64| self.organizations.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
        let contact = |person: &Person| {
            let email = main(&person.emails).unwrap_or_default();
            let deals = self.deals.iter().filter(|deal| deal.person_id == person.id);
            let deals = deals.map(|deal| {
                let (id, open, at) = (deal.id.to_string(), deal.status == "open", deal.update_time.to_string());
                json!({ "id": id, "open": open, "last_activity_at": at })
            });
            CrmContact {
                id: person.id.to_string(),
                name: Some(person.name.clone()),
                primary_deal_id: None,
                deals: deals.collect(),
                phone: main(&person.phones),
                job_title: self
                    .job_title_code()
                    .and_then(|code| person.custom_fields.get(code)?.as_str().map(str::to_owned)),
                company: person.org_id.and_then(company),
                other_emails: person.emails.iter().map(value).filter(|other| *other != email).collect(),
                email,
            }
        };
        self.persons.iter().map(contact).collect()
    }

    pub(super) fn phones(&self, id: &str) -> Value {
        let person = self.persons.iter().find(|person| person.id.to_string() == id);
        person.map_or(Value::Null, |person| json!(person.phones))
    }

    pub(super) fn add_phones(&mut self, id: &str, phones: &[(&str, &str)]) {
        if let Some(person) = self.persons.iter_mut().find(|person| person.id.to_string() == id) {
            let phones =
                phones.iter().map(|(value, label)| json!({ "value": value, "primary": false, "label": label }));
            person.phones.extend(phones);
        }
    }

    fn activity_mut(&mut self, id: &str) -> Option<&mut Activity> {
        self.activities.iter_mut().find(|activity| activity.id.to_string() == id)
    }

    pub(super) fn activity(&self, id: &str) -> Value {
        let activity = self.activities.iter().find(|activity| activity.id.to_string() == id);
        activity.map_or(Value::Null, |activity| Value::Object(activity.fields.clone()))
    }

    pub(super) fn delete_activity(&mut self, id: &str) {
        if let Some(activity) = self.activity_mut(id) {
            activity.is_deleted = true;
        }
    }

    pub(super) fn edit_activity(&mut self, id: &str, fields: &Value) {
        if let (Some(activity), Some(fields)) = (self.activity_mut(id), fields.as_object()) {
            activity.fields.extend(fields.clone());
        }
    }

    pub(super) fn delete_note(&mut self, id: &str) {
        if let Some(note) = self.notes.iter_mut().find(|note| note.id.to_string() == id) {
            note.is_deleted = true;
        }
    }

    pub(super) fn edit_note(&mut self, id: &str, content: &str) {
        if let Some(note) = self.notes.iter_mut().find(|note| note.id.to_string() == id) {
            content.clone_into(&mut note.content);
        }
    }

    fn of_type<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Activity> {
        self.activities.iter().filter(move |activity| activity.text("type") == Some(kind))
    }

    fn owner(&self, activity: &Activity) -> Option<String> {
        let id = activity.fields.get("owner_id")?.as_u64()?;
        self.users.iter().find(|user| user.id == id).map(|user| user.email.to_owned())
    }

    pub(super) fn mails(&self) -> Vec<SeenMail> {
        let mails = self.of_type("email").filter(|activity| !activity.is_deleted);
        mails
            .map(|mail| SeenMail {
                id: mail.id.to_string(),
                subject: mail.text("subject").unwrap_or_default().to_owned(),
                text: mail.shown(),
                direction: None,
                at: mail.begins().unwrap_or_default(),
                contact_ids: mail.contact_ids(),
                deal_id: mail.deal_id(),
            })
            .collect()
    }

    pub(super) fn meetings(&self) -> Vec<SeenMeeting> {
        let status = |meeting: &Activity| {
            let subject = meeting.text("subject").unwrap_or_default().to_lowercase();
            let is_off = meeting.fields.get("done") == Some(&Value::Bool(true)) && subject.starts_with("cancelled");
            match (meeting.is_deleted, is_off) {
                (true, _) => SeenStatus::Deleted,
                (false, true) => SeenStatus::Cancelled,
                (false, false) => SeenStatus::Planned,
            }
        };
        self.of_type("meeting")
            .map(|meeting| SeenMeeting {
                id: meeting.id.to_string(),
                subject: meeting.text("subject").unwrap_or_default().to_owned(),
                text: meeting.shown(),
                start: meeting.begins(),
                status: status(meeting),
                contact_ids: meeting.contact_ids(),
                deal_id: meeting.deal_id(),
                owner: self.owner(meeting),
                writes: meeting.writes,
            })
            .collect()
    }

    pub(super) fn tasks(&self) -> Vec<SeenTask> {
        let tasks = self.of_type("task").filter(|activity| !activity.is_deleted);
        tasks
            .map(|task| SeenTask {
                id: task.id.to_string(),
                subject: task.text("subject").unwrap_or_default().to_owned(),
                due: task.text("due_date").map(str::to_owned),
                owner: self.owner(task),
                contact_ids: task.contact_ids(),
                deal_id: task.deal_id(),
            })
            .collect()
    }

    /// A note of Pipedrive's belongs to one person; further ones are only named in it.
    pub(super) fn seen_notes(&self) -> Vec<SeenNotes> {
        let notes = self.notes.iter().filter(|note| !note.is_deleted);
        notes
            .map(|note| SeenNotes {
                id: note.id.to_string(),
                text: text_of_html(&note.content),
                contact_ids: note.person_id.iter().map(u64::to_string).collect(),
                deal_id: note.deal_id.map(|id| id.to_string()),
            })
            .collect()
    }
}

/// HTML as a reader sees it.
fn text_of_html(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(begin) = rest.find('<') {
        text.push_str(&rest[..begin]);
        let end = rest[begin..].find('>').map_or(rest.len(), |end| begin + end + 1);
        let tag = rest[begin..end].to_ascii_lowercase();
        if tag.starts_with("<br") || tag.starts_with("</p") || tag.starts_with("</li") || tag.starts_with("</div") {
            text.push('\n');
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&nbsp;", " ");
    text.replace("&#39;", "'").replace("&amp;", "&")
}
