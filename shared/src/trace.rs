//! The trace that work belongs to: what is put into a queue on the way carries it on, so that X-Ray shows a notification,
//! its dead letter and all that it caused as one.

use std::future::Future;

tokio::task_local! {
    static CURRENT: Option<String>;
}

/// Does work that belongs to the trace of this header, as SQS hands it over with a message (`AWSTraceHeader`) and Lambda
/// with an invocation.
pub async fn belonging_to<T>(header: Option<String>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(header, work).await
}

/// The header of the trace that the work at hand belongs to, if any.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// The id of the trace that a header names: what X-Ray and the logs find it by (AWS X-Ray developer guide, "Tracing
/// header").
#[must_use]
pub fn id_of(header: &str) -> Option<&str> {
    header.split(';').find_map(|part| part.trim().strip_prefix("Root="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_knows_its_trace_and_none_beside_it_does() {
        assert_eq!(current(), None);
        let one = belonging_to(Some("Root=1-a".to_owned()), async {
            tokio::task::yield_now().await;
            current()
        });
        let other = belonging_to(None, async { current() });
        assert_eq!(futures_util::join!(one, other), (Some("Root=1-a".to_owned()), None));
    }

    #[test]
    fn id_of_a_trace_is_its_root() {
        let header = "Root=1-6b0a8391-e1a3183dd575fd31410e400b;Parent=2cc497189068938e;Sampled=1";
        assert_eq!(id_of(header), Some("1-6b0a8391-e1a3183dd575fd31410e400b"));
        assert_eq!(id_of("Self=1; Root=1-a"), Some("1-a"));
        assert_eq!(id_of("of another form"), None);
    }
}
