//! The contacts of the CRM stand-in, found by id and by address without a search.

use std::collections::HashMap;

use super::CrmContact;

/// The contacts in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// A place is never given to another contact, so that the others keep theirs.
    places: Vec<Option<CrmContact>>,
    /// By the address in lower case.
    by_address: HashMap<String, Vec<usize>>,
    by_id: HashMap<String, Vec<usize>>,
}

impl Directory {
    pub(super) fn add(&mut self, contact: CrmContact) {
        let place = self.places.len();
        for address in addresses_of(&contact) {
            let places = self.by_address.entry(address).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        self.by_id.entry(contact.id.clone()).or_default().push(place);
        self.places.push(Some(contact));
    }

    /// Forgets all contacts with this id, and tells whether there were any.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(places) = self.by_id.remove(id) else { return false };
        for contact in places.iter().filter_map(|place| self.places[*place].take()) {
            for address in addresses_of(&contact) {
                if let Some(of_address) = self.by_address.get_mut(&address) {
                    of_address.retain(|place| !places.contains(place));
                    if of_address.is_empty() {
                        self.by_address.remove(&address);
                    }
                }
            }
        }
        true
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The contact with this id, to change what it is not found by.
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut CrmContact> {
        let place = self.by_id.get(id)?.first()?;
        self.places[*place].as_mut()
    }

    pub(super) fn with_address(&self, address: &str) -> impl Iterator<Item = &CrmContact> {
        let places = self.by_address.get(&address.to_lowercase()).into_iter().flatten();
        places.filter_map(|place| self.places[*place].as_ref())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &CrmContact> {
        self.places.iter().flatten()
    }
}

impl FromIterator<CrmContact> for Directory {
    fn from_iter<T: IntoIterator<Item = CrmContact>>(contacts: T) -> Self {
        let mut directory = Self::default();
        contacts.into_iter().for_each(|contact| directory.add(contact));
        directory
    }
}

fn addresses_of(contact: &CrmContact) -> impl Iterator<Item = String> {
    std::iter::once(&contact.email).chain(&contact.other_emails).map(|address| address.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<'a>(contacts: impl Iterator<Item = &'a CrmContact>) -> Vec<&'a str> {
        contacts.map(|contact| contact.id.as_str()).collect()
    }

    #[test]
    fn contacts_are_found_in_the_order_they_came_in_and_once_each() {
        let mut twice = CrmContact::new("con_2", "Office@halden.example");
        twice.other_emails.push("office@HALDEN.example".to_owned());
        let directory: Directory = [CrmContact::new("con_1", "office@halden.example"), twice].into_iter().collect();
        assert_eq!(ids(directory.with_address("OFFICE@halden.example")), ["con_1", "con_2"]);
        assert_eq!(ids(directory.with_address("nobody@halden.example")), [""; 0]);
    }

    #[test]
    fn a_removed_contact_leaves_the_others_where_they_are() {
        let contacts = ["con_1", "con_2", "con_3"].map(|id| CrmContact::new(id, "office@halden.example"));
        let mut directory: Directory = contacts.into_iter().collect();
        assert!(directory.remove("con_2"));
        assert!(!directory.remove("con_2"));
        assert_eq!(ids(directory.with_address("office@halden.example")), ["con_1", "con_3"]);
        assert_eq!((ids(directory.all()), directory.has("con_2")), (vec!["con_1", "con_3"], false));
        assert_eq!(directory.get_mut("con_3").map(|contact| contact.id.clone()).as_deref(), Some("con_3"));
    }
}
