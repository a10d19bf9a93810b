"""The two people of the demo, as its provider knows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """One choice on the demo provider's page."""

    subject: str
    name: str
    email: str
    groups: tuple[str, ...]

    def claims(self) -> dict[str, object]:
        """The claims that go into the id_token (OpenID Connect Core section 5.1; ``groups`` as most providers send it)."""
        return {
            "name": self.name,
            "preferred_username": self.subject,
            "email": self.email,
            "email_verified": True,
            "groups": list(self.groups),
        }


PEOPLE = (
    Person(subject="alice", name="Alice Arden", email="alice@example.org", groups=("staff", "admins")),
    Person(subject="bob", name="Bob Bell", email="bob@example.org", groups=("staff",)),
)
