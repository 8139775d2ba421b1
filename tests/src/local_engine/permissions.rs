//! Lists the permissions of a role, takes one of them and gives it back, so that the end-to-end suite and
//! `make permissions` can show that each permission of the template is needed and that the engine enforces them.
//! It edits the inline policy through IAM, the way a person would in the console; the engine judges the
//! next request of the function by the new policy.

use reqwest::Method;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{EngineError, LocalEngine};

/// One action on one resource, as a statement of a role grants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The statement's `Sid`.
    pub statement: String,
    /// The action, such as `dynamodb:UpdateItem`.
    pub action: String,
    /// The ARN or the pattern that the statement names.
    pub resource: String,
}

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
        for (policy, document, mut reduced) in self.policies_of(&role).await? {
            if remove_action(&mut reduced, action) {
                let taken = TakenPermission { role, policy, document };
                self.put_role_policy(&taken, &reduced.to_string()).await?;
                return Ok(taken);
            }
        }
        Err(EngineError::NoSuchPermission { role, action: action.to_owned() })
    }

    /// Every action on every resource that a role grants, in the order of its policies.
    pub async fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, EngineError> {
        let mut permissions = Vec::new();
        for (_, _, policy) in self.policies_of(role).await? {
            permissions.extend(granted(&policy));
        }
        Ok(permissions)
    }

    /// Takes one action on one resource from one statement of a role; what else the statement grants stays.
    pub async fn take(&self, role: &str, permission: &Permission) -> Result<TakenPermission, EngineError> {
        for (name, document, mut policy) in self.policies_of(role).await? {
            if remove(&mut policy, permission) {
                let taken = TakenPermission { role: role.to_owned(), policy: name, document };
                self.put_role_policy(&taken, &policy.to_string()).await?;
                return Ok(taken);
            }
        }
        Err(EngineError::NoSuchPermission { role: role.to_owned(), action: permission.action.clone() })
    }

    /// The inline policies of a role: the name, the document as text and as JSON.
    async fn policies_of(&self, role: &str) -> Result<Vec<(String, String, Value)>, EngineError> {
        let listing = self.iam("ListRolePolicies", &[("RoleName", role)]).await?;
        let mut policies = Vec::new();
        for policy in elements(&listing, "member") {
            let answer = self.iam("GetRolePolicy", &[("RoleName", role), ("PolicyName", &policy)]).await?;
            let document = policy_document(&answer)?;
            let read = serde_json::from_str(&document).map_err(|error| EngineError::UnexpectedAnswer {
                what: format!("GetRolePolicy of {role}"),
                detail: error.to_string(),
            })?;
            policies.push((policy, document, read));
        }
        Ok(policies)
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

/// The texts of an element of a statement, which is one or a list of them.
fn texts(element: &Value) -> Vec<&str> {
    match element {
        Value::String(only) => vec![only],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Every action on every resource that a policy grants.
fn granted(policy: &Value) -> Vec<Permission> {
    let mut permissions = Vec::new();
    for statement in policy["Statement"].as_array().into_iter().flatten() {
        for action in texts(&statement["Action"]) {
            permissions.extend(texts(&statement["Resource"]).into_iter().map(|resource| Permission {
                statement: statement["Sid"].as_str().unwrap_or_default().to_owned(),
                action: action.to_owned(),
                resource: resource.to_owned(),
            }));
        }
    }
    permissions
}

/// Removes one action on one resource from its statement; whether it was there. The same action on other resources and
/// other actions on the same one stay granted, under the statement's own condition.
fn remove(policy: &mut Value, permission: &Permission) -> bool {
    let Some(statements) = policy["Statement"].as_array_mut() else {
        return false;
    };
    let holds = |statement: &Value| {
        statement["Sid"] == permission.statement.as_str()
            && texts(&statement["Action"]).contains(&permission.action.as_str())
            && texts(&statement["Resource"]).contains(&permission.resource.as_str())
    };
    let Some(place) = statements.iter().position(holds) else {
        return false;
    };
    let whole = statements.remove(place);
    let others = |element: &str, taken: &str| -> Vec<String> {
        texts(&whole[element]).into_iter().filter(|text| *text != taken).map(str::to_owned).collect()
    };
    let (actions, resources) = (others("Action", &permission.action), others("Resource", &permission.resource));
    if !actions.is_empty() {
        let mut of_other_actions = whole.clone();
        of_other_actions["Action"] = json!(actions);
        statements.push(of_other_actions);
    }
    if !resources.is_empty() {
        let mut on_other_resources = whole.clone();
        on_other_resources["Sid"] = format!("{}Elsewhere", permission.statement).into();
        on_other_resources["Action"] = permission.action.clone().into();
        on_other_resources["Resource"] = json!(resources);
        statements.push(on_other_resources);
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{elements, granted, policy_document, remove, remove_action};

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

    #[test]
    fn every_action_can_be_taken_on_one_resource_alone_and_all_others_stay_with_their_condition() {
        let policy = json!({"Statement": [
            {"Sid": "Send", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": ["a", "b"]},
            {"Sid": "Keep", "Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": "t",
             "Condition": {"StringEquals": {"k": "v"}}},
            {"Sid": "SendElsewhere", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "c"},
        ]});
        let all = granted(&policy);
        assert_eq!(all.len(), 5);
        for taken in &all {
            let mut rest = policy.clone();
            assert!(remove(&mut rest, taken));
            let pairs = |policy| -> Vec<(String, String)> {
                let mut pairs: Vec<_> = granted(policy).into_iter().map(|one| (one.action, one.resource)).collect();
                pairs.sort();
                pairs
            };
            let mut expected = pairs(&policy);
            expected.retain(|pair| *pair != (taken.action.clone(), taken.resource.clone()));
            assert_eq!(pairs(&rest), expected, "{taken:?}");
            let of_table =
                rest["Statement"].as_array().expect("statements").iter().filter(|one| one["Resource"] == "t");
            assert!(of_table.into_iter().all(|one| one["Condition"]["StringEquals"]["k"] == "v"));
            assert!(!remove(&mut rest, taken), "it is gone");
        }
    }
}
