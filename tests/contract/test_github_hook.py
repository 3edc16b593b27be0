"""The App's webhook and who may use runner groups: our client against the emulator, the emulator against githubkit."""

import asyncio

import pytest
from githubkit import AppAuthStrategy, AppInstallationAuthStrategy

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github import github_emulator
from bridge.emulator.github.model import GroupRules
from bridge.errors import Rejected
from bridge.github.hook import Hook, hook, set_hook
from bridge.github.transport import http_client
from tests.contract.test_delivery_log import NOWHERE, an_auth
from tests.emulator.test_github_emulator import client
from tests.support.github import a_github, an_app


def test_the_webhook_is_read_and_changed() -> None:
    async def main() -> None:
        async with github_emulator(a_github(), an_app(webhook_url=NOWHERE)) as emulator, http_client() as http:
            auth = an_auth(emulator, http)
            assert await hook(auth) == Hook(url=NOWHERE, verifies=True)
            await set_hook(auth, url="https://bridge.example.org/webhook", secret="a new secret")
            assert await hook(auth) == Hook(url="https://bridge.example.org/webhook", verifies=True)
            assert emulator.app.webhook_secret == "a new secret"
            with pytest.raises(Rejected):
                await set_hook(auth, url="bridge", secret="a new secret")
            emulator.faults.add(Fault(method="GET", path="/hook/config", kind=FaultKind.ERROR, status=404))
            assert await hook(auth) is None
            emulator.app.webhook_url = None
            assert await hook(auth) is None

    asyncio.run(main())


def test_the_emulated_answers_match_githubs_description() -> None:
    state = a_github()
    state.groups[2], state.admitted[2] = "gpus", frozenset({"acme/web"})
    state.group_rules[2] = GroupRules(public=True, workflows=("acme/web/.github/workflows/ci.yml@main",))

    async def main() -> None:
        async with github_emulator(state, an_app(webhook_url=NOWHERE)) as emulator:
            app = emulator.app
            async with client(AppAuthStrategy(app.client_id, app.pem), emulator) as github:
                changed = await github.rest.apps.async_update_webhook_config_for_app(url=NOWHERE, insecure_ssl="1")
                assert changed.parsed_data.insecure_ssl == "1"
            auth = AppInstallationAuthStrategy(app.client_id, app.pem, app.installation_id)
            async with client(auth, emulator) as github:
                actions = github.rest.actions
                groups = (await actions.async_list_self_hosted_runner_groups_for_org("acme")).parsed_data.runner_groups
                assert [(g.visibility, g.allows_public_repositories) for g in groups] == [
                    ("all", False),
                    ("selected", True),
                ]
                listed = await actions.async_list_repo_access_to_self_hosted_runner_group_in_org("acme", 2)
                assert [r.full_name for r in listed.parsed_data.repositories] == ["acme/web"]
                assert (await github.rest.rate_limit.async_get()).parsed_data.resources.core.limit > 0

    asyncio.run(main())
