//! A local Lambda Runtime API: what a function's process polls for events and posts its answers to.
//! One instance serves one process and hands out one event at a time, as Lambda does, and it takes the time
//! of every hand-over. It knows nothing of what the events mean, so it serves any function.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{Response, StatusCode},
    routing::{get, post},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// The time a function has for one event, as told in the deadline header.
const TIME_OUT: Duration = Duration::from_secs(10);

/// Why an event got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeApiError {
    /// No port could be opened.
    #[error("the local Runtime API could not open a port on 127.0.0.1: {0}")]
    Listen(#[source] std::io::Error),
    /// The function reported that it could not start.
    #[error("the function reported that it could not start: {0}")]
    Initialization(String),
    /// The function reported a failed invocation.
    #[error("the function reported a failed invocation: {0}")]
    Invocation(String),
    /// Neither an answer nor an error came in time.
    #[error("the function gave no answer within {} s", TIME_OUT.as_secs())]
    TimedOut,
    /// The server stopped.
    #[error("the local Runtime API has stopped")]
    Stopped,
}

/// What a function answered to one event.
#[derive(Debug)]
pub struct Answer {
    /// The answer as posted, for an HTTP function a JSON object with `statusCode`.
    pub body: Bytes,
    /// When it arrived.
    pub arrived: Instant,
    /// From handing the event out to the arrival of its answer.
    pub took: Duration,
}

enum Report {
    Ready(Instant),
    Answer(Answer),
    InvocationError(String),
    InitializationError(String),
}

struct Shared {
    events: Mutex<Events>,
    reports: mpsc::UnboundedSender<Report>,
}

struct Events {
    waiting: mpsc::UnboundedReceiver<Bytes>,
    handed_out: Option<(u64, Instant)>,
    count: u64,
}

/// A running Runtime API; it stops when dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    events: mpsc::UnboundedSender<Bytes>,
    reports: mpsc::UnboundedReceiver<Report>,
    ready: Option<Instant>,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    /// Opens a port of its own on 127.0.0.1 and serves it.
    pub async fn start() -> Result<Self, RuntimeApiError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(RuntimeApiError::Listen)?;
        let address = listener.local_addr().map_err(RuntimeApiError::Listen)?;
        let (event_sender, event_receiver) = mpsc::unbounded_channel();
        let (report_sender, report_receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(Events { waiting: event_receiver, handed_out: None, count: 0 }),
            reports: report_sender,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(invocation_error))
            .route("/2018-06-01/runtime/init/error", post(initialization_error))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared);
        let server = tokio::spawn(serve(listener, router));
        Ok(Self { address, events: event_sender, reports: report_receiver, ready: None, server })
    }

    /// What belongs into the function's `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// When the function asked for its first event, that is: when its initialization was over.
    pub fn ready(&self) -> Option<Instant> {
        self.ready
    }

    /// Hands one event out and waits for the answer. Events may be handed in before the function has started.
    pub async fn invoke(&mut self, event: Bytes) -> Result<Answer, RuntimeApiError> {
        self.events.send(event).map_err(|_| RuntimeApiError::Stopped)?;
        tokio::time::timeout(TIME_OUT, self.answer()).await.map_err(|_| RuntimeApiError::TimedOut)?
    }

    async fn answer(&mut self) -> Result<Answer, RuntimeApiError> {
        loop {
            match self.reports.recv().await.ok_or(RuntimeApiError::Stopped)? {
                Report::Ready(at) => self.ready = Some(at),
                Report::Answer(answer) => return Ok(answer),
                Report::InvocationError(error) => return Err(RuntimeApiError::Invocation(error)),
                Report::InitializationError(error) => return Err(RuntimeApiError::Initialization(error)),
            }
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves without Nagle's delay, which would otherwise be measured instead of the function.
pub async fn serve(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|connection| {
        // A connection that refuses the option works all the same, only slower.
        let _ = connection.set_nodelay(true);
    });
    // The server never ends by itself: its owner stops the task.
    let _ = axum::serve(listener, router).await;
}

async fn next(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, StatusCode> {
    let asked = Instant::now();
    let mut events = shared.events.lock().await;
    if events.count == 0 {
        let _ = shared.reports.send(Report::Ready(asked));
    }
    let event = events.waiting.recv().await.ok_or(StatusCode::GONE)?;
    events.count += 1;
    let number = events.count;
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIME_OUT;
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", request_id(number))
        .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:benchmark")
        .header("lambda-runtime-trace-id", format!("Root=1-65000000-{number:024x};Parent={number:016x};Sampled=1"))
        .body(Body::from(event))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    events.handed_out = Some((number, Instant::now()));
    Ok(response)
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let arrived = Instant::now();
    let handed_out = shared.events.lock().await.handed_out.take();
    match handed_out {
        Some((number, at)) if request_id(number) == id => {
            let answer = Answer { body, arrived, took: arrived.duration_since(at) };
            let _ = shared.reports.send(Report::Answer(answer));
            StatusCode::ACCEPTED
        }
        _ => {
            let error = format!("it answered invocation {id}, which is not the one under way");
            let _ = shared.reports.send(Report::InvocationError(error));
            StatusCode::BAD_REQUEST
        }
    }
}

async fn invocation_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.reports.send(Report::InvocationError(String::from_utf8_lossy(&body).into_owned()));
    StatusCode::ACCEPTED
}

async fn initialization_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.reports.send(Report::InitializationError(String::from_utf8_lossy(&body).into_owned()));
    StatusCode::ACCEPTED
}

fn request_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}
