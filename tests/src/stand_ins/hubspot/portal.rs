//! The records of a HubSpot account.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::properties::{Form, Properties};

/// The kinds of records there are.
pub(super) const OBJECTS: [&str; 6] = ["contacts", "deals", "emails", "meetings", "notes", "tasks"];

/// The numbers of the usual associations of activities: with contacts, and with deals.
const ASSOCIATION_TYPES: [(&str, &str, i64); 8] = [
    ("emails", "contacts", 198),
    ("emails", "deals", 210),
    ("meetings", "contacts", 200),
    ("meetings", "deals", 212),
    ("notes", "contacts", 202),
    ("notes", "deals", 214),
    ("tasks", "contacts", 204),
    ("tasks", "deals", 216),
];

/// How many associations of one record a page has.
const ASSOCIATIONS_OF_A_PAGE: usize = 500;

/// A record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) is_archived: bool,
    pub(super) writes: u32,
    created_at: jiff::Timestamp,
    /// When it was made through the API; none if it was always there.
    made: Option<Instant>,
    /// What it belongs to, in the order in which that was told.
    associated: BTreeMap<&'static str, Vec<String>>,
}

impl Record {
    pub(super) fn property(&self, name: &str) -> &str {
        self.properties.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn associated(&self, object: &str) -> Vec<String> {
        self.associated.get(object).cloned().unwrap_or_default()
    }

    fn others(&self) -> impl Iterator<Item = &str> {
        self.property("hs_additional_emails").split(';').filter(|address| !address.is_empty())
    }
}

/// The records of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) properties: Properties,
    pub(super) records: Vec<Record>,
    by_id: HashMap<String, usize>,
    /// Who has a value of a unique property, archived records too.
    by_unique: HashMap<(String, String), usize>,
    /// Which contact has an address besides its main one.
    by_other_address: HashMap<String, usize>,
}

impl Shelf {
    fn new(object: &'static str) -> Self {
        Self {
            properties: Properties::of(object),
            records: Vec::new(),
            by_id: HashMap::new(),
            by_unique: HashMap::new(),
            by_other_address: HashMap::new(),
        }
    }

    fn standing(&self, id: &str) -> Option<&Record> {
        self.by_id.get(id).map(|place| &self.records[*place]).filter(|record| !record.is_archived)
    }

    fn set(&mut self, place: usize, values: &Map<String, Value>) {
        for (name, value) in values {
            let value = value.as_str().unwrap_or_default();
            if self.properties.get(name).is_some_and(|property| property.is_unique) {
                let before = self.records[place].property(name).to_lowercase();
                self.by_unique.remove(&(name.clone(), before));
                if !value.is_empty() {
                    self.by_unique.insert((name.clone(), value.to_lowercase()), place);
                }
            }
            let record = &mut self.records[place];
            if value.is_empty() {
                record.properties.remove(name);
            } else {
                record.properties.insert(name.clone(), value.to_owned());
            }
        }
        let record = &mut self.records[place];
        record.writes += 1;
    }
}

/// Why something is not done: the status, the category and the message.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) category: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, category: "VALIDATION_ERROR", message: message.into() }
    }

    pub(super) fn not_found() -> Self {
        let message = "Object not found.  objectId are usually numeric.".to_owned();
        Self { status: 404, category: "OBJECT_NOT_FOUND", message }
    }
}

type Answer = Result<(u16, Value), Refusal>;

/// An account.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) shelves: BTreeMap<&'static str, Shelf>,
    /// Id and address.
    pub(super) owners: Vec<(String, String)>,
    pub(super) takes_unique_properties: bool,
    pub(super) reads_other_addresses: bool,
    pub(super) search_lag: Duration,
    pub(super) missing_scopes: HashSet<String>,
    next_id: u64,
    pub(super) searches: VecDeque<Instant>,
}

impl Portal {
    pub(super) fn new(users: &[&str]) -> Self {
        let owners = users.iter().zip(8_401_u64..).map(|(address, id)| (id.to_string(), (*address).to_owned()));
        Self {
            shelves: OBJECTS.into_iter().map(|object| (object, Shelf::new(object))).collect(),
            owners: owners.collect(),
            takes_unique_properties: true,
            reads_other_addresses: true,
            search_lag: Duration::from_secs(2),
            missing_scopes: HashSet::new(),
            next_id: 37_001_200_000,
            searches: VecDeque::new(),
        }
    }

    pub(super) fn shelf(&self, object: &str) -> Result<&Shelf, Refusal> {
        self.shelves.get(object).ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {object}")))
    }

    pub(super) fn shelf_mut(&mut self, object: &str) -> Result<&mut Shelf, Refusal> {
        self.shelves
            .get_mut(object)
            .ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {object}")))
    }

    /// The address of an owner.
    pub(super) fn owner(&self, id: &str) -> Option<String> {
        self.owners.iter().find(|(owner, _)| owner == id).map(|(_, address)| address.clone())
    }

    /// Makes a record that was always there.
    pub(super) fn seed(&mut self, object: &str, properties: BTreeMap<String, String>) -> String {
        let id = self.new_id();
        if let Ok(kind) = self.shelf_mut(object) {
            let place = kind.records.len();
            let unique: Vec<String> = kind.properties.unique().map(str::to_owned).collect();
            let record = Record { id: id.clone(), properties, created_at: jiff::Timestamp::now(), ..Record::default() };
            for name in unique {
                if let Some(value) = record.properties.get(&name) {
                    kind.by_unique.insert((name, value.to_lowercase()), place);
                }
            }
            for address in record.others() {
                kind.by_other_address.insert(address.to_lowercase(), place);
            }
            kind.by_id.insert(id.clone(), place);
            kind.records.push(record);
        }
        id
    }

    /// Tells that two records belong together.
    pub(super) fn link(&mut self, one: (&'static str, &str), other: (&'static str, &str)) {
        for ((object, id), (to_object, to_id)) in [(one, other), (other, one)] {
            let Some(kind) = self.shelves.get_mut(object) else { continue };
            let Some(place) = kind.by_id.get(id) else { continue };
            let ids = kind.records[*place].associated.entry(to_object).or_default();
            if ids.iter().all(|standing| standing != to_id) {
                ids.push(to_id.to_owned());
            }
        }
    }

    fn new_id(&mut self) -> String {
        self.next_id += 17;
        self.next_id.to_string()
    }

    /// The place of the record with this id, or with this value of a unique property.
    fn place(&self, object: &str, id: &str, id_property: Option<&str>) -> Result<Option<usize>, Refusal> {
        let kind = self.shelf(object)?;
        let place = match id_property {
            None | Some("hs_object_id") => kind.by_id.get(id),
            Some(name) => match kind.properties.get(name) {
                Some(property) if property.is_unique => {
                    let value = id.to_lowercase();
                    let other = (name == "email" && self.reads_other_addresses).then_some(&value);
                    let by_other = other.and_then(|value| kind.by_other_address.get(value));
                    kind.by_unique.get(&(name.to_owned(), value.clone())).or(by_other)
                }
                _ => return Err(Refusal::invalid(format!("{name} is not a unique property of {object}"))),
            },
        };
        Ok(place.copied().filter(|place| !kind.records[*place].is_archived))
    }

    fn shown(&self, object: &str, record: &Record, wanted: &[&str]) -> Value {
        let mut properties = Map::new();
        let Ok(kind) = self.shelf(object) else { return Value::Null };
        for name in wanted.iter().filter(|name| kind.properties.get(name).is_some()) {
            let value = record.properties.get(*name).cloned();
            let value = if *name == "hs_object_id" { Some(record.id.clone()) } else { value };
            properties.insert((*name).to_owned(), value.map_or(Value::Null, Value::from));
        }
        properties.insert("hs_object_id".to_owned(), json!(record.id));
        properties.insert("hs_lastmodifieddate".to_owned(), json!(record.created_at.to_string()));
        json!({
            "id": record.id,
            "properties": properties,
            "createdAt": record.created_at.to_string(),
            "updatedAt": record.created_at.to_string(),
            "archived": record.is_archived,
        })
    }

    fn refuse_values(&self, object: &str, values: &Map<String, Value>, of: Option<usize>) -> Result<(), Refusal> {
        let kind = self.shelf(object)?;
        let is_owner = |id: &str| self.owners.iter().any(|(owner, _)| owner == id);
        if let Some(message) = kind.properties.refusal(values, is_owner) {
            return Err(Refusal::invalid(message));
        }
        for name in kind.properties.unique() {
            let Some(value) = values.get(name).and_then(Value::as_str).filter(|value| !value.is_empty()) else {
                continue;
            };
            let holder = kind.by_unique.get(&(name.to_owned(), value.to_lowercase()));
            if let Some(holder) = holder.filter(|holder| Some(**holder) != of) {
                let holder = &kind.records[*holder].id;
                return Err(Refusal::invalid(format!(
                    "Cannot set PropertyValueCoordinates{{propertyName={name}, value={value}}}. {holder} already has that value."
                )));
            }
        }
        Ok(())
    }

    pub(super) fn create(&mut self, object: &'static str, body: &Value) -> Answer {
        let values = body["properties"].as_object().cloned().unwrap_or_default();
        self.refuse_values(object, &values, None)?;
        let has = |name: &str| values.get(name).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        let has_time = has("hs_timestamp") || object == "meetings" && has("hs_meeting_start_time");
        if !matches!(object, "contacts" | "deals") && !has_time {
            return Err(Refusal::invalid(
                "Error creating ENGAGEMENT. Some required properties were not set: hs_timestamp.",
            ));
        }
        let mut links = Vec::new();
        for association in body["associations"].as_array().into_iter().flatten() {
            let id = association["to"]["id"].as_str().unwrap_or_default();
            let number = &association["types"][0]["associationTypeId"];
            let is_usual = association["types"][0]["associationCategory"] == "HUBSPOT_DEFINED";
            let known =
                ASSOCIATION_TYPES.iter().find(|(from, _, usual)| *from == object && is_usual && number == usual);
            let Some((_, to, _)) = known else {
                return Err(Refusal::invalid(format!("{number} is no association type of {object}")));
            };
            if self.shelf(to)?.standing(id).is_none() {
                return Err(Refusal::invalid(format!(
                    "The association of {object} with {to} {id} is not valid: no such record"
                )));
            }
            links.push((*to, id.to_owned()));
        }
        let id = self.seed(object, BTreeMap::new());
        let kind = self.shelf_mut(object)?;
        let place = kind.by_id[&id];
        kind.set(place, &values);
        kind.records[place].made = Some(Instant::now());
        for (to, to_id) in links {
            self.link((object, &id), (to, &to_id));
        }
        let wanted: Vec<&str> = values.keys().map(String::as_str).collect();
        Ok((201, self.shown(object, &self.shelf(object)?.records[place], &wanted)))
    }

    pub(super) fn read(&self, object: &str, id: &str, query: &[(String, String)]) -> Answer {
        let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let place = self.place(object, id, parameter("idProperty"))?.ok_or_else(Refusal::not_found)?;
        let record = &self.shelf(object)?.records[place];
        let wanted: Vec<&str> = parameter("properties").unwrap_or_default().split(',').collect();
        let mut shown = self.shown(object, record, &wanted);
        for to in parameter("associations").unwrap_or_default().split(',').filter(|to| !to.is_empty()) {
            self.shelf(to)?;
            let ids = record.associated(to);
            if !ids.is_empty() {
                let name = format!("{}_to_{}", object.trim_end_matches('s'), to.trim_end_matches('s'));
                let results: Vec<Value> = ids.iter().map(|id| json!({"id": id, "type": name})).collect();
                shown["associations"][to] = json!({"results": results});
            }
        }
        Ok((200, shown))
    }

    pub(super) fn change(&mut self, object: &str, id: &str, id_property: Option<&str>, body: &Value) -> Answer {
        let place = self.place(object, id, id_property)?.ok_or_else(Refusal::not_found)?;
        let values = body["properties"].as_object().cloned().unwrap_or_default();
        self.refuse_values(object, &values, Some(place))?;
        self.shelf_mut(object)?.set(place, &values);
        let wanted: Vec<&str> = values.keys().map(String::as_str).collect();
        Ok((200, self.shown(object, &self.shelf(object)?.records[place], &wanted)))
    }

    /// Moves a record to the recycling bin, where its unique values stay its own.
    pub(super) fn archive(&mut self, object: &str, id: &str) -> Answer {
        let place = self.place(object, id, None)?.ok_or_else(Refusal::not_found)?;
        self.shelf_mut(object)?.records[place].is_archived = true;
        Ok((204, Value::Null))
    }

    pub(super) fn read_batch(&self, object: &str, body: &Value) -> Answer {
        let ids = inputs(body)?;
        let wanted: Vec<&str> = body["properties"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (mut results, mut missing, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for id in ids {
            match self.place(object, id, body["idProperty"].as_str())? {
                // Several inputs may find one record, which is told once.
                Some(place) if !seen.insert(place) => {}
                Some(place) => results.push(self.shown(object, &self.shelf(object)?.records[place], &wanted)),
                None => missing.push(id),
            }
        }
        let message =
            format!("Could not get some {object} objects, they may be deleted or not exist. Check that ids are valid.");
        Ok(batch(&results, &not_found(&message, &missing)))
    }

    pub(super) fn update_batch(&mut self, object: &str, body: &Value) -> Answer {
        let ids: Vec<String> = inputs(body)?.into_iter().map(str::to_owned).collect();
        if ids.iter().collect::<HashSet<_>>().len() < ids.len() {
            return Err(Refusal::invalid("Duplicate IDs found in batch input"));
        }
        let inputs: Vec<Value> = body["inputs"].as_array().cloned().unwrap_or_default();
        for input in &inputs {
            if input["idProperty"] == "email" {
                return Err(Refusal::invalid("Unable to perform update/upsert by non-unique 0-1 property"));
            }
            let place = self.place(object, input["id"].as_str().unwrap_or_default(), input["idProperty"].as_str())?;
            // One value that is no good spoils the batch.
            self.refuse_values(object, &input["properties"].as_object().cloned().unwrap_or_default(), place)?;
        }
        let (mut results, mut missing) = (Vec::new(), Vec::new());
        for (id, input) in ids.iter().zip(&inputs) {
            match self.change(object, id, input["idProperty"].as_str(), input) {
                Ok((_, changed)) => results.push(changed),
                Err(_) => missing.push(id.as_str()),
            }
        }
        Ok(batch(&results, &not_found("Could not update some objects, they may be deleted or not exist.", &missing)))
    }

    pub(super) fn read_associations(&self, from: &str, to: &str, body: &Value) -> Answer {
        self.shelf(to)?;
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in body["inputs"].as_array().into_iter().flatten() {
            let id = input["id"].as_str().unwrap_or_default();
            let ids = self.shelf(from)?.standing(id).map(|record| record.associated(to)).unwrap_or_default();
            if ids.is_empty() {
                errors.push(json!({
                    "status": "error",
                    "category": "OBJECT_NOT_FOUND",
                    "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                    "message": format!("No {to} is associated with {from} {id}."),
                    "context": {"fromObjectId": [id], "fromObjectType": [from], "toObjectType": [to]},
                }));
                continue;
            }
            let after: usize = input["after"].as_str().and_then(|after| after.parse().ok()).unwrap_or_default();
            let page = ids.iter().skip(after).take(ASSOCIATIONS_OF_A_PAGE);
            // Numbers here, where all other ids are texts.
            let page: Vec<Value> = page
                .map(|id| {
                    json!({
                        "toObjectId": id.parse::<u64>().unwrap_or_default(),
                        "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": 4, "label": null}],
                    })
                })
                .collect();
            let mut result = json!({"from": {"id": id}, "to": page});
            if after + ASSOCIATIONS_OF_A_PAGE < ids.len() {
                result["paging"] = json!({"next": {"after": (after + ASSOCIATIONS_OF_A_PAGE).to_string()}});
            }
            results.push(result);
        }
        Ok(batch(&results, &errors))
    }

    pub(super) fn associate(&mut self, from: &'static str, to: &'static str, body: &Value) -> Answer {
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in body["inputs"].as_array().into_iter().flatten() {
            let [one, other] = ["from", "to"].map(|side| input[side]["id"].as_str().unwrap_or_default());
            if self.shelf(from)?.standing(one).is_none() || self.shelf(to)?.standing(other).is_none() {
                errors.extend(not_found("One of the records does not exist.", &[one, other]));
                continue;
            }
            self.link((from, one), (to, other));
            results.push(json!({
                "from": {"id": one},
                "to": {"id": other},
                "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1},
            }));
        }
        Ok(batch(&results, &errors))
    }

    pub(super) fn search(&mut self, object: &str, body: &Value) -> Answer {
        let now = Instant::now();
        self.searches.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        if self.searches.len() >= 5 {
            return Err(Refusal {
                status: 429,
                category: "SECONDLY",
                message: "You have reached your secondly limit.".to_owned(),
            });
        }
        self.searches.push_back(now);
        let kind = self.shelf(object)?;
        let groups: Vec<&Vec<Value>> = body["filterGroups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|group| group["filters"].as_array())
            .collect();
        for filter in groups.iter().copied().flatten() {
            refuse_filter(kind, filter)?;
        }
        let is_indexed = |record: &Record| {
            record.made.is_none_or(|at| now.duration_since(at) >= self.search_lag) && !record.is_archived
        };
        let fits = |record: &&Record| {
            is_indexed(record)
                && (groups.is_empty()
                    || groups.iter().any(|filters| filters.iter().all(|filter| fits_filter(kind, record, filter))))
        };
        let found: Vec<&Record> = kind.records.iter().filter(fits).collect();
        let wanted: Vec<&str> = body["properties"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let after: usize = body["after"].as_str().and_then(|after| after.parse().ok()).unwrap_or_default();
        let limit = body["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        let page: Vec<Value> =
            found.iter().skip(after).take(limit).map(|record| self.shown(object, record, &wanted)).collect();
        let mut answer = json!({"total": found.len(), "results": page});
        if after + limit < found.len() {
            answer["paging"] = json!({"next": {"after": (after + limit).to_string()}});
        }
        Ok((200, answer))
    }
}

fn refuse_filter(kind: &Shelf, filter: &Value) -> Result<(), Refusal> {
    let name = filter["propertyName"].as_str().unwrap_or_default();
    if kind.properties.get(name).is_none() {
        return Err(Refusal::invalid(format!("There was a problem with the request: no property {name}")));
    }
    let takes = match filter["operator"].as_str().unwrap_or_default() {
        "EQ" | "NEQ" | "CONTAINS_TOKEN" => filter["value"].is_string(),
        "IN" | "NOT_IN" => filter["values"].is_array(),
        "HAS_PROPERTY" | "NOT_HAS_PROPERTY" => true,
        other => return Err(Refusal::invalid(format!("the stand-in knows no operator {other}"))),
    };
    if takes { Ok(()) } else { Err(Refusal::invalid("the filter has no value of the form that its operator takes")) }
}

fn fits_filter(kind: &Shelf, record: &Record, filter: &Value) -> bool {
    let name = filter["propertyName"].as_str().unwrap_or_default();
    let value = record.property(name).to_lowercase();
    let several = kind.properties.get(name).is_some_and(|property| property.form == Form::Several);
    let held: Vec<&str> = if several { value.split(';').collect() } else { vec![value.as_str()] };
    let is_held = |wanted: &Value| {
        wanted.as_str().is_some_and(|wanted| !value.is_empty() && held.contains(&wanted.to_lowercase().as_str()))
    };
    let any_is_held = || filter["values"].as_array().into_iter().flatten().any(is_held);
    match filter["operator"].as_str().unwrap_or_default() {
        "EQ" => is_held(&filter["value"]),
        "NEQ" => !is_held(&filter["value"]),
        "IN" => any_is_held(),
        "NOT_IN" => !any_is_held(),
        "HAS_PROPERTY" => !value.is_empty(),
        "NOT_HAS_PROPERTY" => value.is_empty(),
        _ => value.contains(&filter["value"].as_str().unwrap_or_default().to_lowercase()),
    }
}

/// The ids of a batch's inputs, of which there may be no more than a hundred.
fn inputs(body: &Value) -> Result<Vec<&str>, Refusal> {
    let ids: Vec<&str> =
        body["inputs"].as_array().into_iter().flatten().filter_map(|input| input["id"].as_str()).collect();
    if ids.len() > 100 {
        return Err(Refusal::invalid(format!("The batch size of {} is greater than the maximum of 100", ids.len())));
    }
    Ok(ids)
}

fn not_found(message: &str, ids: &[&str]) -> Vec<Value> {
    if ids.is_empty() {
        return Vec::new();
    }
    vec![json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": ids}})]
}

/// The answer to a batch: 207 if not all of it was served.
fn batch(results: &[Value], errors: &[Value]) -> (u16, Value) {
    let now = jiff::Timestamp::now().to_string();
    let mut answer = json!({"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now});
    if errors.is_empty() {
        return (200, answer);
    }
    answer["numErrors"] = json!(errors.len());
    answer["errors"] = json!(errors);
    (207, answer)
}
