//! Watermarks: up to which time everything of a grant has been looked through by one function. Kept among the links.

use jiff::Timestamp;
use serde_json::Map;

use super::{Links, PutLink, StoreError};
use crate::domain::link::{Link, LinkKey, LinkState, Version};
use crate::domain::notification::GrantId;

/// How often a write that lost a race is tried again. Only jobs of one grant compete, so once is almost always enough.
const MOST_RACES: usize = 8;

fn key(function: &str, grant: &GrantId) -> LinkKey {
    LinkKey::new("watermark", &format!("{function}/{grant}"))
}

/// Up to when everything has been looked through; none if nothing has been yet.
pub async fn watermark(links: &impl Links, function: &str, grant: &GrantId) -> Result<Option<Timestamp>, StoreError> {
    let standing = links.get(&key(function, grant)).await?;
    Ok(standing.and_then(|standing| Timestamp::from_second(standing.link.version.changed_at).ok()))
}

/// Moves the watermark forward, never back.
pub async fn advance_watermark(
    links: &impl Links,
    function: &str,
    grant: &GrantId,
    to: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = key(function, grant);
    let mut link = Link {
        key: key.clone(),
        state: LinkState::Live { became: to.to_string() },
        version: Version { sequence: 0, changed_at: to.as_second() },
        content: None,
        facts: Map::new(),
    };
    for _ in 0..MOST_RACES {
        let standing = links.get(&key).await?;
        if let Some(standing) = &standing {
            if standing.link.version >= link.version {
                return Ok(());
            }
            link.facts.clone_from(&standing.link.facts);
        }
        if let PutLink::Stored(_) = links.put(&link, standing.map(|standing| standing.revision), now).await? {
            return Ok(());
        }
    }
    Err(StoreError(format!("the watermark {} is written by too many at once", key.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::MemoryLinks;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[tokio::test]
    async fn watermark_of_a_grant_and_function_only_moves_forward() {
        let links = MemoryLinks::default();
        let (grant, other) = (GrantId::parse("g").expect("a grant"), GrantId::parse("h").expect("a grant"));
        assert_eq!(watermark(&links, "email-activity", &grant).await, Ok(None));
        for second in [100, 300, 200] {
            advance_watermark(&links, "email-activity", &grant, at(second), at(1000)).await.expect("written");
        }
        assert_eq!(watermark(&links, "email-activity", &grant).await, Ok(Some(at(300))));
        assert_eq!(watermark(&links, "calendar-sync", &grant).await, Ok(None));
        assert_eq!(watermark(&links, "email-activity", &other).await, Ok(None));
    }
}
