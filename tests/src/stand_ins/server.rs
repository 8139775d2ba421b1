//! The HTTP server under every stand-in: listens on 127.0.0.1, keeps a log of the calls, lets them meet
//! the planned faults, and passes the others to the stand-in's own routes. It serves connections itself
//! because only so a connection can be closed without an answer.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};
use tower::ServiceExt;

use super::{Fault, Faults, Result, StandInError};

/// One call that a stand-in received.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path as it was sent, still percent-encoded.
    pub path: String,
    /// The query as it was sent; empty without one.
    pub query: String,
    /// The status that was answered; none if the caller got no answer (or not yet).
    pub status: Option<u16>,
    /// When the call arrived, by the clock on the wall.
    pub at: jiff::Timestamp,
    /// When the call arrived, counted from the start of the stand-in.
    pub since_start: Duration,
}

/// The calls of one method and the paths that begin alike.
#[derive(Debug)]
struct Count {
    method: String,
    path_prefix: String,
    calls: usize,
}

impl Count {
    fn counts(&self, call: &Call) -> bool {
        call.method == self.method && call.path.starts_with(&self.path_prefix)
    }
}

#[derive(Debug)]
struct Logged {
    kept: VecDeque<Call>,
    most_kept: usize,
    forgotten: usize,
    counts: Vec<Count>,
    /// When the calls of the last second arrived.
    last_second: VecDeque<Duration>,
    most_in_one_second: usize,
}

impl Logged {
    /// Keeps a call and gives its place among all calls, forgotten ones too.
    fn keep(&mut self, call: Call) -> usize {
        let is_past = |earlier: &mut Duration| call.since_start.saturating_sub(*earlier) >= Duration::from_secs(1);
        while self.last_second.pop_front_if(is_past).is_some() {}
        self.last_second.push_back(call.since_start);
        self.most_in_one_second = self.most_in_one_second.max(self.last_second.len());
        for count in self.counts.iter_mut().filter(|count| count.counts(&call)) {
            count.calls += 1;
        }
        self.kept.push_back(call);
        self.forget();
        self.forgotten + self.kept.len() - 1
    }

    fn forget(&mut self) {
        let excess = self.kept.len().saturating_sub(self.most_kept);
        self.kept.drain(..excess);
        self.forgotten += excess;
    }
}

/// The calls that a stand-in received, in the order of their arrival. Clones share the log.
#[derive(Clone, Debug)]
pub struct CallLog {
    started: Instant,
    logged: Arc<Mutex<Logged>>,
}

impl CallLog {
    fn new() -> Self {
        let logged = Logged {
            kept: VecDeque::new(),
            most_kept: usize::MAX,
            forgotten: 0,
            counts: Vec::new(),
            last_second: VecDeque::new(),
            most_in_one_second: 0,
        };
        Self { started: Instant::now(), logged: Arc::new(Mutex::new(logged)) }
    }

    /// All calls so far; only the newest of them after [`keep_newest`](Self::keep_newest).
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.locked(|logged| logged.kept.iter().cloned().collect())
    }

    /// From now on keeps no more than this many calls, the newest ones, so that the log of many calls does not fill the
    /// memory. Numbers of calls are told of forgotten ones too.
    pub fn keep_newest(&self, calls: usize) {
        self.locked(|logged| {
            logged.most_kept = calls.max(1);
            logged.forget();
        });
    }

    /// How many calls there were so far.
    #[must_use]
    pub fn total(&self) -> usize {
        self.locked(|logged| logged.forgotten + logged.kept.len())
    }

    /// How many calls with this method there were so far whose path begins with `path_prefix`. Counted along with the calls
    /// from the first question on, so that asking again costs nothing. Of calls that were forgotten before the first question
    /// it does not know.
    #[must_use]
    pub fn count(&self, method: &str, path_prefix: &str) -> usize {
        self.locked(|logged| {
            let is_it = |count: &&Count| count.method == method && count.path_prefix == path_prefix;
            if let Some(known) = logged.counts.iter().find(is_it) {
                return known.calls;
            }
            let mut count = Count { method: method.to_owned(), path_prefix: path_prefix.to_owned(), calls: 0 };
            count.calls = logged.kept.iter().filter(|call| count.counts(call)).count();
            let calls = count.calls;
            logged.counts.push(count);
            calls
        })
    }

    /// The highest number of calls that arrived within any one second.
    #[must_use]
    pub fn most_in_one_second(&self) -> usize {
        self.locked(|logged| logged.most_in_one_second)
    }

    fn arrived(&self, request: &Request<Incoming>) -> usize {
        let call = Call {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            status: None,
            at: jiff::Timestamp::now(),
            since_start: self.started.elapsed(),
        };
        self.locked(|logged| logged.keep(call))
    }

    fn answered(&self, call: usize, status: u16) {
        self.locked(|logged| {
            let place = call.checked_sub(logged.forgotten);
            if let Some(call) = place.and_then(|place| logged.kept.get_mut(place)) {
                call.status = Some(status);
            }
        });
    }

    fn locked<T>(&self, use_logged: impl FnOnce(&mut Logged) -> T) -> T {
        use_logged(&mut self.logged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a stand-in answers for a planned error status, in the format of the service it stands for.
pub(super) type ErrorAnswer = fn(u16) -> Response;

/// Decides by its path whether a call is let in: what is given is dropped when the call is over, latency and planned delays
/// included; a call that is not let in meets the fault.
pub(super) type Gate = Box<dyn Fn(&str) -> std::result::Result<Option<Box<dyn Send>>, Fault> + Send + Sync>;

/// A running server. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    log: CallLog,
    faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Site {
    router: Router,
    error_answer: ErrorAnswer,
    gate: Gate,
    faults: Faults,
    log: CallLog,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose by the fault plan")]
struct ConnectionClosed;

impl Server {
    /// Listens on the port of 127.0.0.1, 0 for any free one.
    pub(super) fn start(port: u16, router: Router, error_answer: ErrorAnswer) -> Result<Self> {
        Self::start_gated(port, router, error_answer, Box::new(|_| Ok(None)))
    }

    /// Listens like one that is started without a gate, and lets in only what the gate does.
    pub(super) fn start_gated(port: u16, router: Router, error_answer: ErrorAnswer, gate: Gate) -> Result<Self> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen_error = |source| StandInError::Listen { address: wanted, source };
        let listener = std::net::TcpListener::bind(wanted).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;

        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StandInError::Thread)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(listen_error)?
        };
        let site = Arc::new(Site { router, error_answer, gate, faults: Faults::default(), log: CallLog::new() });
        let (log, faults) = (site.log.clone(), site.faults.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("stand-in-{}", address.port()))
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, site) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(StandInError::Thread)?;
        Ok(Self { address, log, faults, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn log(&self) -> &CallLog {
        &self.log
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The receiver is gone only if the thread has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: connections that end make room.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let site = Arc::clone(&site);
        connections.spawn(async move {
            let serve = service_fn(move |request| serve_call(Arc::clone(&site), request));
            // A connection that ends in an error is the caller's to notice.
            // Idle connections stay open, so that a caller's pool never meets one that closes just then.
            let _ = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

async fn serve_call(site: Arc<Site>, request: Request<Incoming>) -> std::result::Result<Response, ConnectionClosed> {
    let call = site.log.arrived(&request);
    let (latency, planned) = site.faults.meet(request.method().as_str(), request.uri().path());
    let (_let_in, fault) = match (site.gate)(request.uri().path()) {
        Ok(let_in) => (let_in, planned),
        Err(refusal) => (None, Some(refusal)),
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    match &fault {
        Some(Fault::Status { status, retry_after }) => {
            let mut answer = (site.error_answer)(*status);
            if let Some(value) = retry_after.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                answer.headers_mut().insert(RETRY_AFTER, value);
            }
            site.log.answered(call, answer.status().as_u16());
            return Ok(answer);
        }
        Some(Fault::DropConnection) => return Err(ConnectionClosed),
        Some(Fault::Hang(pause)) => tokio::time::sleep(*pause).await,
        Some(Fault::LoseAnswer | Fault::DelayAnswer(_)) | None => {}
    }
    let answer = match site.router.clone().oneshot(request.map(Body::new)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
    .into_response();
    match &fault {
        Some(Fault::LoseAnswer) => return Err(ConnectionClosed),
        Some(Fault::DelayAnswer(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    site.log.answered(call, answer.status().as_u16());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, routing::get};

    use super::*;
    use crate::stand_ins::FaultRule;

    fn server() -> Server {
        let router = Router::new().route("/", get(|| async { "here" }));
        let error_answer: ErrorAnswer =
            |status| (StatusCode::from_u16(status).expect("a test uses real statuses"), "failed").into_response();
        Server::start(0, router, error_answer).expect("a free port exists")
    }

    #[tokio::test]
    async fn a_delayed_answer_comes_after_its_time() {
        let server = server();
        server.faults().add(FaultRule::next(1, Fault::DelayAnswer(std::time::Duration::from_millis(80))));
        let begun = std::time::Instant::now();
        let answer = reqwest::get(server.base_url()).await.expect("an answer comes");
        assert_eq!(answer.status(), 200);
        assert!(begun.elapsed() >= std::time::Duration::from_millis(80));
    }

    #[tokio::test]
    async fn a_dropped_connection_gives_the_caller_no_answer() {
        let server = server();
        server.faults().add(FaultRule::next(1, Fault::DropConnection));
        let client = reqwest::Client::new();
        let error = client.get(server.base_url()).send().await.expect_err("no answer was sent");
        assert!(error.is_request(), "{error:?}");
        assert_eq!(client.get(server.base_url()).send().await.expect("the fault is used up").status(), 200);
        assert_eq!(server.log().all().iter().map(|call| call.status).collect::<Vec<_>>(), [None, Some(200)]);
    }

    #[tokio::test]
    async fn a_hanging_call_is_not_carried_out_for_a_caller_that_has_left() {
        let server = server();
        server.faults().add(FaultRule::next(1, Fault::Hang(Duration::from_millis(300))));
        let client = reqwest::Client::new();
        let error = client
            .get(server.base_url())
            .timeout(Duration::from_millis(50))
            .send()
            .await
            .expect_err("it hangs longer than the caller waits");
        assert!(error.is_timeout(), "{error:?}");
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(server.log().all()[0].status, None);
    }

    #[tokio::test]
    async fn a_planned_status_carries_retry_after_only_where_planned() {
        let server = server();
        server.faults().add(FaultRule::next(1, Fault::status_with_retry_after(429, "7")));
        server.faults().add(FaultRule::next(1, Fault::status(503)));
        let first = reqwest::get(server.base_url()).await.expect("answered");
        assert_eq!((first.status().as_u16(), first.headers()[RETRY_AFTER].to_str().ok()), (429, Some("7")));
        let second = reqwest::get(server.base_url()).await.expect("answered");
        assert_eq!((second.status().as_u16(), second.headers().get(RETRY_AFTER)), (503, None));
    }

    #[tokio::test]
    async fn latency_delays_every_call() {
        let server = server();
        server.faults().set_latency(Duration::from_millis(80));
        let begun = Instant::now();
        reqwest::get(server.base_url()).await.expect("answered");
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn the_busiest_second_is_counted_over_any_window() {
        let log = CallLog::new();
        let call = |millis| Call {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            status: Some(200),
            at: jiff::Timestamp::UNIX_EPOCH,
            since_start: Duration::from_millis(millis),
        };
        assert_eq!(log.most_in_one_second(), 0);
        for millis in [0, 900, 1100, 1500, 1899, 2900] {
            log.locked(|logged| logged.keep(call(millis)));
        }
        assert_eq!(log.most_in_one_second(), 4);
    }

    #[test]
    fn a_log_that_forgets_still_counts_and_takes_no_late_answer_for_another_call() {
        let log = CallLog::new();
        let arrived = |method: &str, path: &str| {
            let call = Call {
                method: method.to_owned(),
                path: path.to_owned(),
                query: String::new(),
                status: None,
                at: jiff::Timestamp::UNIX_EPOCH,
                since_start: Duration::ZERO,
            };
            log.locked(|logged| logged.keep(call))
        };
        let first = arrived("GET", "/contacts");
        assert_eq!((log.count("GET", "/contacts"), log.count("PATCH", "/contacts/")), (1, 0));
        log.keep_newest(2);
        for number in 0..5 {
            arrived("PATCH", &format!("/contacts/con_{number}"));
        }
        let last = arrived("GET", "/contacts");
        log.answered(first, 500);
        log.answered(last, 200);
        let kept: Vec<_> = log.all().into_iter().map(|call| (call.path, call.status)).collect();
        assert_eq!(kept, [("/contacts/con_4".to_owned(), None), ("/contacts".to_owned(), Some(200))]);
        assert_eq!((log.count("GET", "/contacts"), log.count("PATCH", "/contacts/"), log.total()), (2, 5, 7));
    }

    #[tokio::test]
    async fn a_gate_lets_go_of_a_call_only_when_it_is_over_and_refuses_in_the_format_of_the_service() {
        let inside = Arc::new(());
        let gate: Gate = {
            let inside = Arc::clone(&inside);
            Box::new(move |_| match Arc::strong_count(&inside) {
                ..4 => Ok(Some(Box::new(Arc::clone(&inside)))),
                _ => Err(Fault::status_with_retry_after(429, "1")),
            })
        };
        let router = Router::new().route("/", get(|| async { "here" }));
        let error_answer: ErrorAnswer =
            |status| (StatusCode::from_u16(status).expect("a test uses real statuses"), "failed").into_response();
        let server = Server::start_gated(0, router, error_answer, gate).expect("a free port exists");
        server.faults().set_latency(Duration::from_millis(200));
        let asked = (0..4).map(|_| reqwest::get(server.base_url()));
        let answers = futures_util::future::try_join_all(asked).await.expect("all are answered");
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 429, 429]);
        let refused = answers.iter().find(|answer| answer.status() == 429).expect("two are refused");
        assert_eq!(refused.headers()[RETRY_AFTER].to_str().ok(), Some("1"));
        assert_eq!(reqwest::get(server.base_url()).await.expect("answered").status(), 200, "there is room again");
    }

    #[test]
    fn a_dropped_server_frees_its_port() {
        let server = server();
        let address = server.address;
        drop(server);
        std::net::TcpListener::bind(address).expect("the port is free again");
    }
}
