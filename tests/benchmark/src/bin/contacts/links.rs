//! The links table: held by the process that measures, reached by the one that is measured over HTTP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
    serve::ListenerExt as _,
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use shared::{
    domain::link::{Link, LinkKey},
    engine::{Links, ManyLinks, PutLink, Revision, StoreError, StoredLink, testing::MemoryLinks},
};
use tokio::{net::TcpListener, sync::oneshot};

/// The most links that one call of `DynamoDB` reads, or writes.
const MOST_READ: usize = 100;
const MOST_WRITTEN: usize = 25;

/// A link as it goes over the wire, with its revision.
type Wired = (Link, u64);

struct Table {
    links: MemoryLinks,
    latency: Duration,
    calls: AtomicUsize,
}

impl Table {
    /// Counts a request as so many calls of `DynamoDB`, which the function makes side by side.
    async fn called(&self, calls: usize) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        tokio::time::sleep(self.latency).await;
    }
}

/// The table, on a thread of its own; it stops when dropped.
pub struct LinksServer {
    address: SocketAddr,
    table: Arc<Table>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LinksServer {
    /// An empty table that answers after this time.
    pub fn start(latency: Duration) -> std::io::Result<Self> {
        let table = Arc::new(Table { links: MemoryLinks::default(), latency, calls: AtomicUsize::new(0) });
        let router = Router::new()
            .route("/get", post(get_many))
            .route("/put", post(put))
            .route("/put-many", post(put_many))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&table));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("links".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Without Nagle's delay, which would otherwise be measured too. A connection that refuses works all the same.
                let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, table, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the table is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many calls `DynamoDB` would have had so far.
    pub fn calls(&self) -> usize {
        self.table.calls.load(Ordering::Relaxed)
    }
}

impl Drop for LinksServer {
    fn drop(&mut self) {
        // The receiver is gone only if the thread has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

fn refused(error: StoreError) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.0)
}

async fn get_many(State(table): State<Arc<Table>>, Json(keys): Json<Vec<LinkKey>>) -> Answer<Vec<Option<Wired>>> {
    table.called(keys.len().div_ceil(MOST_READ)).await;
    let found = table.links.get_many(&keys).await.map_err(refused)?;
    let wired = |stored: StoredLink| (stored.link, stored.revision.0);
    Ok(Json(found.into_iter().map(|stored| stored.map(wired)).collect()))
}

async fn put(
    State(table): State<Arc<Table>>,
    Json((link, expected)): Json<(Link, Option<u64>)>,
) -> Answer<Option<u64>> {
    table.called(1).await;
    let put = table.links.put(&link, expected.map(Revision), Timestamp::now()).await.map_err(refused)?;
    Ok(Json(match put {
        PutLink::Stored(revision) => Some(revision.0),
        PutLink::Raced => None,
    }))
}

async fn put_many(State(table): State<Arc<Table>>, Json(links): Json<Vec<Link>>) -> Answer<()> {
    table.called(links.len().div_ceil(MOST_WRITTEN)).await;
    table.links.put_many(&links, Timestamp::now()).await.map_err(refused)?;
    Ok(Json(()))
}

/// The table, as the process sees it that is measured.
pub struct RemoteLinks {
    http: reqwest::Client,
    url: String,
}

impl RemoteLinks {
    /// The table at this address.
    pub fn new(http: reqwest::Client, url: &str) -> Self {
        Self { http, url: url.to_owned() }
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, StoreError> {
        let told = |error: reqwest::Error| StoreError(format!("the table: {error}"));
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await.map_err(told)?;
        answer.error_for_status().map_err(told)?.json().await.map_err(told)
    }
}

impl Links for RemoteLinks {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        Ok(self.get_many(std::slice::from_ref(key)).await?.into_iter().next().flatten())
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, _: Timestamp) -> Result<PutLink, StoreError> {
        let written: Option<u64> = self.call("/put", &(link, expected.map(|revision| revision.0))).await?;
        Ok(written.map_or(PutLink::Raced, |revision| PutLink::Stored(Revision(revision))))
    }
}

impl ManyLinks for RemoteLinks {
    async fn get_many(&self, keys: &[LinkKey]) -> Result<Vec<Option<StoredLink>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<Option<Wired>> = self.call("/get", &keys).await?;
        let stored = |(link, revision)| StoredLink { link, revision: Revision(revision) };
        Ok(found.into_iter().map(|wired| wired.map(stored)).collect())
    }

    async fn put_many(&self, links: &[Link], _: Timestamp) -> Result<(), StoreError> {
        if links.is_empty() { Ok(()) } else { self.call("/put-many", &links).await }
    }
}

#[cfg(test)]
mod tests {
    use shared::engine::testing::{links_keep_their_rules, many_links_keep_their_rules};

    use super::*;

    #[tokio::test]
    async fn table_behind_http_keeps_the_rules_and_counts_calls_as_dynamodb_would() {
        let server = LinksServer::start(Duration::ZERO).expect("a table");
        let http = shared::http::http_client().expect("a client");
        let links = RemoteLinks::new(http, &server.url());
        links_keep_their_rules(&links, "one").await;
        let before = server.calls();
        many_links_keep_their_rules(&links, "many").await;
        assert_eq!(server.calls() - before, 6 + 1 + 2, "130 links, one link, 142 keys");
    }
}
