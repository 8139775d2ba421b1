//! Takes one permission from a function's role and gives it back, so that the end-to-end suite can show
//! that each permission of the template is needed and that the engine enforces them.
//! It edits the inline policy through IAM, the way a person would in the console; the engine judges the
//! next request of the function by the new policy.

use reqwest::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::{EngineError, LocalEngine};

/// A permission that was taken, with what is needed to give it back.
#[derive(Clone, Debug)]
pub struct TakenPermission {
    role: String,
    policy: String,
    document: String,
}

impl LocalEngine {
    /// Takes `action`, such as `dynamodb:UpdateItem`, from every statement of the role that
    /// `function_name` runs under. The role has to hold it.
    pub async fn take_permission(&self, function_name: &str, action: &str) -> Result<TakenPermission, EngineError> {
        let role = self.role_of(function_name).await?;
        let listing = self.iam("ListRolePolicies", &[("RoleName", &role)]).await?;
        for policy in elements(&listing, "member") {
            let answer = self.iam("GetRolePolicy", &[("RoleName", &role), ("PolicyName", &policy)]).await?;
            let document = policy_document(&answer)?;
            let mut reduced: Value = serde_json::from_str(&document).map_err(|error| {
                EngineError::UnexpectedAnswer { what: format!("GetRolePolicy of {role}"), detail: error.to_string() }
            })?;
            if remove_action(&mut reduced, action) {
                let taken = TakenPermission { role, policy, document };
                self.put_role_policy(&taken, &reduced.to_string()).await?;
                return Ok(taken);
            }
        }
        Err(EngineError::NoSuchPermission { role, action: action.to_owned() })
    }

    /// Gives a taken permission back.
    pub async fn give_back(&self, taken: TakenPermission) -> Result<(), EngineError> {
        self.put_role_policy(&taken, &taken.document).await
    }

    async fn put_role_policy(&self, of: &TakenPermission, document: &str) -> Result<(), EngineError> {
        self.iam("PutRolePolicy", &[("RoleName", &of.role), ("PolicyName", &of.policy), ("PolicyDocument", document)])
            .await
            .map(drop)
    }

    async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, EngineError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", "2010-05-08")
            .extend_pairs(parameters)
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.signed(&format!("{action} of IAM"), "iam", Method::POST, "/", &headers, body).await
    }
}

/// The texts of every element `name` in an answer of IAM, whose elements have no attributes.
fn elements(answer: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    answer
        .split(open.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once(close.as_str()))
        .map(|(text, _)| text.trim().to_owned())
        .collect()
}

/// IAM hands a policy out as URL-encoded JSON.
fn policy_document(answer: &str) -> Result<String, EngineError> {
    let encoded = elements(answer, "PolicyDocument").into_iter().next();
    // A single key without a value is exactly one URL-encoded text.
    encoded
        .and_then(|text| form_urlencoded::parse(text.as_bytes()).next().map(|(document, _)| document.into_owned()))
        .ok_or_else(|| EngineError::UnexpectedAnswer {
            what: "GetRolePolicy of IAM".to_owned(),
            detail: "it holds no PolicyDocument".to_owned(),
        })
}

/// Removes `action` wherever it stands and drops statements left without any; whether it stood anywhere.
fn remove_action(policy: &mut Value, action: &str) -> bool {
    let Some(statements) = policy["Statement"].as_array_mut() else {
        return false;
    };
    let mut removed = false;
    statements.retain_mut(|statement| match &mut statement["Action"] {
        Value::String(only) if only == action => {
            removed = true;
            false
        }
        Value::Array(actions) => {
            let before = actions.len();
            actions.retain(|held| held != action);
            removed |= actions.len() < before;
            !actions.is_empty()
        }
        _ => true,
    });
    removed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{elements, policy_document, remove_action};

    #[test]
    fn an_action_is_removed_from_lists_and_a_statement_without_actions_goes_with_it() {
        let mut policy = json!({"Statement": [
            {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:UpdateItem"], "Resource": "a"},
            {"Effect": "Allow", "Action": "dynamodb:UpdateItem", "Resource": "b"},
            {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "c"},
        ]});
        assert!(remove_action(&mut policy, "dynamodb:UpdateItem"));
        assert_eq!(
            policy,
            json!({"Statement": [
                {"Effect": "Allow", "Action": ["dynamodb:GetItem"], "Resource": "a"},
                {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "c"},
            ]})
        );
        assert!(!remove_action(&mut policy, "dynamodb:UpdateItem"));
    }

    #[test]
    fn the_policy_document_is_decoded_from_the_answer_of_iam() {
        let answer = "<GetRolePolicyResult><PolicyName>email-activity</PolicyName>\
                      <PolicyDocument>%7B%22Statement%22%3A%5B%5D%7D</PolicyDocument></GetRolePolicyResult>";
        assert_eq!(elements(answer, "PolicyName"), ["email-activity"]);
        assert_eq!(policy_document(answer).expect("it holds one"), r#"{"Statement":[]}"#);
    }
}
