//! The lookups of one batch: each address is asked for once, however many of the batch's messages bear it.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::{ContactsByAddress, CrmError, FindContacts};
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;

type Answer = Result<Arc<ContactsByAddress>, CrmError>;
type Lookup<'a> = Shared<BoxFuture<'a, Answer>>;

/// Looks addresses up for the messages of one batch, side by side.
pub struct BatchLookup<'a, C> {
    crm: &'a C,
    asked: Mutex<HashMap<EmailAddress, (usize, Lookup<'a>)>>,
}

impl<'a, C: FindContacts> BatchLookup<'a, C> {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(crm: &'a C) -> Self {
        Self { crm, asked: Mutex::default() }
    }

    /// The CRM that is asked.
    #[must_use]
    pub fn crm(&self) -> &'a C {
        self.crm
    }

    /// Looks addresses up. What another message of the batch has asked for, or is asking for right now, is not asked
    /// again; what could not be answered is.
    pub async fn find(&self, addresses: &[EmailAddress], deadline: Deadline) -> Result<ContactsByAddress, CrmError> {
        let lookups = self.lookups(addresses, deadline);
        let answers = join_all(lookups.iter().map(|(_, lookup)| lookup.clone())).await;
        let mut found = ContactsByAddress::new();
        let mut failed: Option<CrmError> = None;
        for ((number, _), answer) in lookups.iter().zip(answers) {
            match answer {
                Ok(contacts) => {
                    let wanted = addresses.iter().filter_map(|address| Some((address, contacts.get(address)?)));
                    found.extend(wanted.map(|(address, contacts)| (address.clone(), contacts.clone())));
                }
                Err(error) => {
                    self.forget(*number);
                    failed = Some(CrmError::more_telling(failed, error));
                }
            }
        }
        failed.map_or(Ok(found), Err)
    }

    /// The lookups that answer these addresses, each once; new ones are begun for what nobody has asked for.
    fn lookups(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<(usize, Lookup<'a>)> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let new: Vec<EmailAddress> =
            addresses.iter().filter(|address| !asked.contains_key(address) && seen.insert(*address)).cloned().collect();
        if !new.is_empty() {
            let number = asked.values().map(|(number, _)| number + 1).max().unwrap_or_default();
            let (crm, wanted) = (self.crm, new.clone());
            let lookup = async move { crm.find_contacts(&wanted, deadline).await.map(Arc::new) }.boxed().shared();
            asked.extend(new.into_iter().map(|address| (address, (number, lookup.clone()))));
        }
        let mut lookups: Vec<(usize, Lookup<'a>)> = Vec::new();
        for (number, lookup) in addresses.iter().filter_map(|address| asked.get(address)) {
            if lookups.iter().all(|(standing, _)| standing != number) {
                lookups.push((*number, lookup.clone()));
            }
        }
        lookups
    }

    /// Forgets a lookup that failed, so that another try asks anew.
    fn forget(&self, number: usize) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, (standing, _)| *standing != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::Contact;
    use crate::http::CallError;
    use std::time::Duration;

    #[derive(Default)]
    struct SlowCrm {
        asked: Mutex<Vec<String>>,
        down: std::sync::atomic::AtomicBool,
    }

    impl FindContacts for SlowCrm {
        async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
            self.asked.lock().expect("not poisoned").extend(addresses.iter().map(ToString::to_string));
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.down.load(std::sync::atomic::Ordering::SeqCst) {
                let problem = "it answered 503".to_owned();
                return Err(
                    CallError::Unavailable { api: "the CRM", problem, retry_after: None, answered: true }.into()
                );
            }
            let contact =
                |address: &EmailAddress| Contact { id: address.to_string(), deals: Vec::new(), ..Contact::default() };
            Ok(addresses.iter().map(|address| (address.clone(), vec![contact(address)])).collect())
        }
    }

    fn addresses(names: &[&str]) -> Vec<EmailAddress> {
        names.iter().map(|name| EmailAddress::parse(&format!("{name}@acme.example")).expect("an address")).collect()
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_messages_of_a_batch_share_are_asked_for_once_and_side_by_side() {
        let crm = SlowCrm::default();
        let lookup = BatchLookup::new(&crm);
        let begun = tokio::time::Instant::now();
        let (one, other, third) = (addresses(&["a", "b"]), addresses(&["b", "c"]), addresses(&["a", "c", "a"]));
        let (first, second, last) =
            tokio::join!(lookup.find(&one, soon()), lookup.find(&other, soon()), lookup.find(&third, soon()));
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
        assert_eq!(first.map(|found| found.len()), Ok(2));
        assert_eq!(second.map(|found| found.len()), Ok(2));
        assert_eq!(last.map(|found| found.len()), Ok(2));
        assert_eq!(crm.asked.lock().expect("not poisoned").len(), 3);
        lookup.find(&one, soon()).await.expect("known");
        assert_eq!(crm.asked.lock().expect("not poisoned").len(), 3, "and not later in the batch either");
    }

    #[tokio::test(start_paused = true)]
    async fn lookup_that_failed_is_asked_again_by_the_next_message() {
        let crm = SlowCrm::default();
        let lookup = BatchLookup::new(&crm);
        crm.down.store(true, std::sync::atomic::Ordering::SeqCst);
        let (one, other) = (addresses(&["a"]), addresses(&["a", "b"]));
        let (first, second) = tokio::join!(lookup.find(&one, soon()), lookup.find(&other, soon()));
        assert!(first.is_err() && second.is_err());
        crm.down.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(lookup.find(&other, soon()).await.map(|found| found.len()), Ok(2));
    }
}
