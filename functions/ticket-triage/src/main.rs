//! The ticket-triage function: wires clients and starts the runtime. What it does is told in the library beside it.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::configuration::Environment;
use shared::engine::Deadline;
use shared::worker::Worker;
use ticket_triage::deployed::Rules;
use ticket_triage::{FUNCTION, Further};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let environment = Environment::process();
    let worker = &Worker::from_environment(FUNCTION, &environment).await?;
    let further = &Further::from_environment(worker, &environment)?;
    let rules = &Rules::new(worker, further);
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = Deadline::at(event.context.deadline());
        let answered = Box::pin(worker.engine.run(event.payload, deadline, rules)).await?;
        Ok::<_, Error>(answered)
    }))
    .await
}
