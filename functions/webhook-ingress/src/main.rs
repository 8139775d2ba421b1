//! The webhook ingress: wires clients and starts the runtime. What it does is told in the library beside it.

use lambda_http::{Error, Request, run, service_fn};
use shared::configuration::Environment;
use webhook_ingress::{Configuration, Ingress};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let configuration = Configuration::from_environment(&Environment::process())?;
    let ingress = &Ingress::start(configuration).await;
    run(service_fn(|request: Request| async move { ingress.answer(request).await })).await
}
