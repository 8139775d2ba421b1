//! How mail that this deployment sends and events that it makes are known again: by an id of the deployment.
//!
//! The id belongs to one deployment, so that mail from another company's crm-autopilot is never taken for our own.

use super::digest::sha256_hex;

/// The header that every mail of ours carries.
pub const LOOP_HEADER: &str = "X-Crm-Autopilot-Loop";

/// The field of an event's metadata that every event of ours carries.
pub const LOOP_METADATA: &str = "crm_autopilot_loop";

/// The id of a deployment, as it stands in [`LOOP_HEADER`]: 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopId(String);

impl LoopId {
    /// The id of the stack with this name or ARN; an update of the stack does not change it.
    #[must_use]
    pub fn of_stack(stack: &str) -> Self {
        let mut digest = sha256_hex(&[b"loop:", stack.as_bytes()]);
        digest.truncate(32);
        Self(digest)
    }

    /// The id in the value of a loop header; none if the value has another form.
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        let id = value.trim().to_ascii_lowercase();
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(Self(id))
    }

    /// The id as it stands in the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the value of a loop header is this deployment's.
    #[must_use]
    pub fn is_in(&self, value: &str) -> bool {
        Self::from_header(value).as_ref() == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_of_another_deployment_is_not_our_own() {
        let ours = LoopId::of_stack("arn:aws:cloudformation:eu-north-1:1:stack/crm-autopilot/a");
        let theirs = LoopId::of_stack("arn:aws:cloudformation:eu-north-1:1:stack/crm-autopilot/b");
        assert_eq!(ours.as_str().len(), 32);
        assert!(ours.is_in(&format!(" {} ", ours.as_str().to_uppercase())));
        assert!(!ours.is_in(theirs.as_str()) && !ours.is_in(""));
    }
}
