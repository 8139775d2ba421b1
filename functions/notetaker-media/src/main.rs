//! The notetaker-media function: wires clients and starts the runtime. What it does is told in the library beside it.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use notetaker_media::{FUNCTION, Further, NotetakerMedia};
use shared::configuration::Environment;
use shared::engine::Deadline;
use shared::worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let environment = Environment::process();
    let worker = &Worker::from_environment(FUNCTION, &environment).await?;
    let further = &Further::from_environment(worker, &environment)?;
    let rules = &NotetakerMedia::new(worker, further);
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = Deadline::at(event.context.deadline());
        let batch = rules.for_batch();
        let answered = Box::pin(worker.engine.run(event.payload, deadline, &batch)).await?;
        Ok::<_, Error>(answered)
    }))
    .await
}
