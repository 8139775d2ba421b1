//! Customers of the onboarding, as the product and Nylas tell of them, and what the stack's table holds of them. For the
//! demo and the end-to-end suite.

use serde_json::{Map, Value, json};
use shared::aws::documents::DynamoDocuments;
use shared::engine::Documents as _;
use std::time::{Duration, Instant};

use crate::stack_view::ViewError;
use crate::stand_ins::nylas::SentMail;
use crate::stand_ins::nylas_webhook::signature;
use crate::world::{CUSTOMER_EVENTS_SECRET, World, WorldError};

/// What the product tells of a customer.
#[must_use]
pub fn event(kind: &str, id: &str, email: &str, name: &str) -> Value {
    json!({ "type": kind, "id": id, "email": email, "name": name })
}

/// Tells an event of the product to the stack, and answers the status.
pub async fn tell(world: &World, event: &Value) -> Result<u16, WorldError> {
    let body = event.to_string();
    let signed = signature(CUSTOMER_EVENTS_SECRET, body.as_bytes());
    let url = world.stack.customer_events_url()?;
    let answer = world.engine.post(url, &[("X-Signature", &signed)], body).await?;
    Ok(answer.status.as_u16())
}

/// The customers of a stack.
pub struct Customers {
    table: DynamoDocuments,
}

impl Customers {
    /// Those of the world's stack.
    pub async fn of(world: &World) -> Result<Self, WorldError> {
        let table = world.stack.output("OnboardingTableName")?.to_owned();
        Ok(Self { table: DynamoDocuments::new(&world.engine.aws_config().await, table, "email") })
    }

    /// What the table holds of a customer.
    pub async fn record(&self, email: &str) -> Result<Option<Map<String, Value>>, WorldError> {
        let read = self.table.read(email).await;
        let read = read.map_err(|error| ViewError::Aws { what: "reading the onboarding table", problem: error.0 })?;
        Ok(read.map(|stored| stored.fields))
    }

    /// Waits until the record of a customer is as `is_it` asks for, and answers it.
    pub async fn until(
        &self,
        email: &str,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, WorldError> {
        let begun = Instant::now();
        loop {
            let record = self.record(email).await?.map_or(Value::Null, Value::Object);
            if is_it(&record) {
                return Ok(record);
            }
            if begun.elapsed() > within {
                let (what, found) = (what.to_owned(), format!("its record: {record}"));
                return Err(ViewError::NotInTime { what, seconds: within.as_secs(), found }.into());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// The mails that were sent to a customer, by the step that each is, in order.
#[must_use]
pub fn mails_to(world: &World, email: &str) -> Vec<(String, SentMail)> {
    let to_them = world.nylas.sent().into_iter().filter(|mail| mail.to.iter().any(|to| to == email));
    to_them
        .map(|mail| {
            // What is not tracked has its label in a header alone.
            let header = mail.headers.iter().find(|(name, _)| name == "X-Crm-Autopilot-Label");
            let label = mail.label.as_deref().or(header.map(|(_, value)| value.as_str())).unwrap_or_default();
            let step = label.split_once('.').map_or_else(String::new, |(_, rest)| rest.to_owned());
            (step, mail)
        })
        .collect()
}
