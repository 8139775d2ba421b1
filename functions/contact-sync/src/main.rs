//! The contact-sync function: wires clients and starts the runtime. What it does is told in the library beside it.

use aws_lambda_events::sqs::SqsEvent;
use contact_sync::{ContactSync, FUNCTION};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::configuration::Environment;
use shared::engine::Deadline;
use shared::worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let environment = Environment::process();
    let worker = &Worker::from_environment(FUNCTION, &environment).await?;
    let rules = &ContactSync::new(worker, &environment)?;
    run(service_fn(|event: LambdaEvent<Value>| async move {
        // The queue hands over batches; the nightly schedule, or a person, the job itself.
        if event.payload.get("Records").is_none() {
            let trace = event.context.xray_trace_id.clone();
            // In boxes: the clients' calls nest so deep that the compiler would give up on the type of them all.
            let work = Box::pin(rules.begin(event.payload, &event.context.request_id));
            let work = Box::pin(shared::trace::belonging_to(trace, work));
            let begun = shared::calls::measured(FUNCTION, work).await?;
            return Ok::<Value, Error>(serde_json::to_value(begun)?);
        }
        let batch: SqsEvent = serde_json::from_value(event.payload)?;
        let deadline = Deadline::at(event.context.deadline());
        let answered = Box::pin(worker.engine.run(batch, deadline, rules)).await?;
        Ok(serde_json::to_value(answered)?)
    }))
    .await
}
