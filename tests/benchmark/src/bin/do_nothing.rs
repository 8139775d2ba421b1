//! The floor of the comparison: a Lambda function behind a Function URL that answers 200 and does nothing else.
//! What it costs is what the runtime itself costs, so the difference to it is what a function's own work costs.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(answer)).await
}

async fn answer(_request: Request) -> Result<Response<Body>, Error> {
    Ok(Response::new(Body::Empty))
}
