//! A whole world to run the stack in: the local engine, the deployed stack, and stand-ins for Nylas, the
//! CRM, the ticket system and the webhook for alerts.

use crate::canaries::demo_with_canaries;
use crate::local_engine::{EngineError, FunctionUrl, LocalEngine, Options, Stack, project_root};
use crate::samples::SampleError;
use crate::stack_view::{StackView, ViewError};
use crate::stand_ins::alert_webhook::AlertWebhook;
use crate::stand_ins::crm::CrmStandIn;
use crate::stand_ins::nylas::{Grant, Nylas};
use crate::stand_ins::nylas_webhook::NylasWebhook;
use crate::stand_ins::rest_crm::RestCrm;
use crate::stand_ins::rest_tickets::RestTickets;
use crate::stand_ins::ticket_system::TicketStandIn;
use crate::stand_ins::{self, StandInError, nylas};
use shared::aws::never_log::NEVER_LOG_KEY;
use shared::crm::provider::CrmProvider;
use shared::domain::own_mail::LoopId;
use shared::tickets::provider::TicketProvider;
use std::path::Path;

/// The secret that the stack's webhook is deployed with.
pub const WEBHOOK_SECRET: &str = "sandbox-webhook-secret";

/// The secret that the stack's customer events are deployed with.
pub const CUSTOMER_EVENTS_SECRET: &str = "sandbox-customer-events-secret";

/// The company in all samples.
pub const COMPANY_DOMAIN: &str = "northwind.example";

/// The folder of the contacts and mailboxes that every world begins with.
const DEMO: &str = "events/demo";

/// Stands in the demo's mailboxes for the mark of the stack's own mail and events.
const LOOP_ID_PLACEHOLDER: &str = "{{loop-id}}";

/// The grant of the support mailbox, which the demo's mailboxes hold.
pub const SUPPORT_GRANT: &str = "support-grant-0001";

/// The address of that mailbox.
pub const SUPPORT_EMAIL: &str = "support@northwind.example";

/// The grant of a second support mailbox, which may get a copy of the same mail.
pub const SECOND_SUPPORT_GRANT: &str = "support-grant-0002";

/// The address of that mailbox.
pub const SECOND_SUPPORT_EMAIL: &str = "helpdesk@northwind.example";

/// The domain of a customer whose tickets come first.
pub const PRIORITY_DOMAIN: &str = "globex.example";

/// The grant of the account that customers are written from.
pub const ONBOARDING_GRANT: &str = "onboarding-grant-0001";

/// The address of that account.
pub const ONBOARDING_EMAIL: &str = "welcome@northwind.example";

/// Something in the world could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The local engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stand-in.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// A look at the stack.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A stand-in was told of something that it does not hold.
    #[error(transparent)]
    Control(#[from] nylas::ControlError),
    /// A sample.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// The world.
pub struct World {
    /// The local AWS.
    pub engine: LocalEngine,
    /// What is deployed on it.
    pub stack: Stack,
    /// The CRM.
    pub crm: RestCrm,
    /// The ticket system.
    pub tickets: RestTickets,
    /// Nylas's API.
    pub nylas: Nylas,
    /// Where people are told.
    pub alerts: AlertWebhook,
    /// What the stack holds.
    pub view: StackView,
    parameters: Vec<(&'static str, String)>,
    other_crm: Option<Box<dyn CrmStandIn>>,
    other_tickets: Option<Box<dyn TicketStandIn>>,
}

/// The kinds of system that a stack is to use.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// The CRM.
    pub crm: CrmProvider,
    /// The ticket system.
    pub tickets: TicketProvider,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { crm: CrmProvider::Rest, tickets: TicketProvider::Rest }
    }
}

impl World {
    /// Starts everything and deploys the built template. Lines for people go to `say`.
    /// `more` are parameters beside those of [`parameters`].
    pub async fn start(
        options: &Options,
        stack_name: &str,
        more: &[(&'static str, String)],
        say: impl FnMut(&str),
    ) -> Result<Self, WorldError> {
        Self::start_with(Kinds::default(), options, stack_name, more, say).await
    }

    /// The same with a canary in every personal field of the contacts and mailboxes.
    pub async fn start_with_canaries(
        options: &Options,
        stack_name: &str,
        more: &[(&'static str, String)],
        say: impl FnMut(&str),
    ) -> Result<Self, WorldError> {
        let folder = project_root().join(".local").join(format!("{}-samples", options.name));
        let samples = demo_with_canaries(&project_root().join(DEMO), folder)?;
        Self::start_from(&samples, Kinds::default(), options, stack_name, more, say).await
    }

    /// The same with other systems than the generic ones.
    pub async fn start_with(
        kinds: Kinds,
        options: &Options,
        stack_name: &str,
        more: &[(&'static str, String)],
        say: impl FnMut(&str),
    ) -> Result<Self, WorldError> {
        Self::start_from(&project_root().join(DEMO), kinds, options, stack_name, more, say).await
    }

    async fn start_from(
        samples: &Path,
        kinds: Kinds,
        options: &Options,
        stack_name: &str,
        more: &[(&'static str, String)],
        mut say: impl FnMut(&str),
    ) -> Result<Self, WorldError> {
        let crm = RestCrm::builder().contacts_file(&samples.join("contacts.json"))?.start()?;
        let tickets = RestTickets::start()?;
        let nylas = Nylas::builder()
            .grants_file(&samples.join("mailboxes.json"))?
            .grant(Grant::google(ONBOARDING_GRANT, ONBOARDING_EMAIL))
            .grant(Grant::microsoft(SECOND_SUPPORT_GRANT, SECOND_SUPPORT_EMAIL))
            .start()?;
        let alerts = AlertWebhook::start()?;
        let other_crm = match kinds.crm {
            CrmProvider::Rest => None,
            other => {
                let other = stand_ins::crm::start(other)?;
                for contact in crm.contacts() {
                    other.add_contact(&contact);
                }
                Some(other)
            }
        };
        let other_tickets = match kinds.tickets {
            TicketProvider::Rest => None,
            other => Some(stand_ins::ticket_system::start(other)?),
        };
        let (used_crm, used_tickets) = (
            other_crm.as_deref().unwrap_or(&crm as &dyn CrmStandIn),
            other_tickets.as_deref().unwrap_or(&tickets as &dyn TicketStandIn),
        );
        say(&format!(
            "the CRM ({}) stands in at {}, the ticket system ({}) at {}, Nylas at {}",
            used_crm.provider(),
            used_crm.base_url(),
            used_tickets.provider(),
            used_tickets.base_url(),
            nylas.base_url()
        ));
        let engine = LocalEngine::start(options).await?;
        say(&format!("the local engine answers at {}", engine.endpoint()));
        nylas.functions_are_at(&engine.endpoint());
        say("deploying template.yaml with `sam deploy`, IAM enforced");
        let mut parameters = parameters(used_crm, used_tickets, &nylas);
        parameters.push(("AlertWebhookUrl", alerts.url()));
        parameters.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        parameters.extend_from_slice(more);
        let stack = engine
            .deploy(stack_name, &parameters, |line| {
                if line.contains("CREATE_COMPLETE") || line.contains("Error") {
                    say(&format!("  {}", line.trim()));
                }
            })
            .await?;
        let view = StackView::new(&engine.aws_config().await, &stack)?;
        // Mail and events of this deployment bear a mark that only the deployment knows.
        nylas.replace(LOOP_ID_PLACEHOLDER, loop_id(&stack)?.as_str());
        let never_log = std::fs::read(samples.join("never-log.txt"))
            .map_err(|source| SampleError::File { path: samples.join("never-log.txt"), source })?;
        view.put_archived(NEVER_LOG_KEY, never_log).await?;
        Ok(Self { engine, stack, crm, tickets, nylas, alerts, view, parameters, other_crm, other_tickets })
    }

    /// The CRM that the stack uses, in the form that all kinds have.
    #[must_use]
    pub fn seen_crm(&self) -> &dyn CrmStandIn {
        self.other_crm.as_deref().unwrap_or(&self.crm)
    }

    /// The ticket system that the stack uses, in the form that all kinds have.
    #[must_use]
    pub fn seen_tickets(&self) -> &dyn TicketStandIn {
        self.other_tickets.as_deref().unwrap_or(&self.tickets)
    }

    /// Updates the stack to use these systems instead.
    pub async fn use_systems(&self, crm: &dyn CrmStandIn, tickets: &dyn TicketStandIn) -> Result<(), WorldError> {
        let mut parameters = of_systems(crm, tickets);
        let others = self.parameters.iter().filter(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        let others: Vec<_> = others.cloned().collect();
        parameters.extend(others);
        self.engine.deploy(&self.stack.name, &parameters, |_| {}).await?;
        Ok(())
    }

    /// Nylas's sending half, pointed at the stack.
    pub fn webhook(&self) -> Result<NylasWebhook, WorldError> {
        self.webhook_signed_with(WEBHOOK_SECRET)
    }

    /// Nylas's sending half with another secret.
    pub fn webhook_signed_with(&self, secret: &str) -> Result<NylasWebhook, WorldError> {
        let target = FunctionUrl::at_engine(self.stack.webhook_url()?, &self.engine.endpoint())?;
        Ok(NylasWebhook::new(target.address.as_str(), secret)?.host(&target.host))
    }
}

/// What marks mail of a stack's own.
pub fn loop_id(stack: &Stack) -> Result<LoopId, WorldError> {
    Ok(LoopId::of_stack(stack.output("StackId")?))
}

/// The parameters of the stack in this world.
#[must_use]
pub fn parameters(crm: &dyn CrmStandIn, tickets: &dyn TicketStandIn, nylas: &Nylas) -> Vec<(&'static str, String)> {
    let mut parameters = of_systems(crm, tickets);
    parameters.extend(vec![
        ("NylasApiUri", nylas.base_url()),
        ("NylasApiKey", nylas::DEFAULT_API_KEY.to_owned()),
        ("NylasWebhookSecret", WEBHOOK_SECRET.to_owned()),
        ("CustomerEventsSecret", CUSTOMER_EVENTS_SECRET.to_owned()),
        ("CrmRequestsPerSecond", "1000".to_owned()),
        ("CompanyDomains", COMPANY_DOMAIN.to_owned()),
        ("SupportGrantIds", format!("{SUPPORT_GRANT},{SECOND_SUPPORT_GRANT}")),
        ("SupportAddress", SUPPORT_EMAIL.to_owned()),
        ("PriorityDomains", PRIORITY_DOMAIN.to_owned()),
        ("RetryFirstDelay", "1s".to_owned()),
        ("MediaRetentionDays", "30".to_owned()),
        ("OnboardingGrantId", ONBOARDING_GRANT.to_owned()),
        ("OnboardingEmail", ONBOARDING_EMAIL.to_owned()),
        ("ProductName", "Northwind".to_owned()),
        ("SetupUrl", "https://northwind.example/setup".to_owned()),
        ("DocsUrl", "https://northwind.example/docs".to_owned()),
        ("TeamTimeZone", "Europe/Stockholm".to_owned()),
        // The storage of the sandbox stands on this machine.
        ("MediaUrlPolicy", "any".to_owned()),
    ]);
    parameters
}

/// The parameters that name the CRM and the ticket system; those of another kind are empty.
#[must_use]
pub fn of_systems(crm: &dyn CrmStandIn, tickets: &dyn TicketStandIn) -> Vec<(&'static str, String)> {
    let mut parameters = vec![
        ("CrmProvider", crm.provider().to_owned()),
        ("CrmBaseUrl", crm.base_url()),
        ("TicketProvider", tickets.provider().to_owned()),
        ("TicketBaseUrl", tickets.base_url()),
    ];
    parameters.extend(crm.parameters());
    parameters.extend(tickets.parameters());
    for name in ["CrmClientId", "CrmUsername", "CrmRefreshToken", "CrmLoginUrl", "TicketProject"] {
        if parameters.iter().all(|(given, _)| *given != name) {
            parameters.push((name, String::new()));
        }
    }
    parameters
}
