//! What the stand-in of Pipedrive cannot show: sizes, odd answers, and what fails in part.
