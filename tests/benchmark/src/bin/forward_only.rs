//! The yardstick of the comparison: a Lambda function behind a Function URL that sends the body to a FIFO queue,
//! waits for SQS to accept it, and answers 200. It verifies nothing, parses nothing and logs nothing, so whatever
//! ingress costs beyond it is the price of signature, routing and bookkeeping.

use aws_sdk_sqs::Client;
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};

/// Names the queue that takes the bodies.
const QUEUE_URL_VARIABLE: &str = "QUEUE_URL";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let queue_url = std::env::var(QUEUE_URL_VARIABLE)
        .map_err(|error| format!("{QUEUE_URL_VARIABLE}: {error}; set it to the URL of a FIFO queue"))?;
    let sqs = Client::new(&aws_config::load_from_env().await);
    run(service_fn(|request: Request| forward(&sqs, &queue_url, request))).await
}

async fn forward(sqs: &Client, queue_url: &str, request: Request) -> Result<Response<Body>, Error> {
    // Different for each notification, and at hand without a look at the body.
    let invocation = request.lambda_context().request_id;
    let body = match request.into_body() {
        Body::Text(text) => text,
        Body::Binary(bytes) => String::from_utf8(bytes)?,
        _ => String::new(),
    };
    sqs.send_message()
        .queue_url(queue_url)
        .message_body(body)
        .message_group_id(&invocation)
        .message_deduplication_id(&invocation)
        .send()
        .await?;
    Ok(Response::new(Body::Empty))
}
