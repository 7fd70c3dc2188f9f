"""A campaign in a process of its own, whose memory is measured apart."""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from fuzzing.account import Account
from midijax.errors import UserError


def run(campaign: Callable[..., None], account: Account, *arguments: Any) -> Account:
    """The account as the campaign leaves it; UserError if its process was ended.

    Args:
      campaign: called with the account, the arguments, and what it may call at the end.
      account: of the campaign, empty.
      arguments: of the campaign.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(campaign, account, arguments, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise UserError(f"the {account.name} campaign was ended before it was done") from None
    finally:
        process.join()


def _run(
    campaign: Callable[..., None], account: Account, arguments: tuple, sender: Connection
) -> NoReturn:
    started = time.monotonic()

    def finish() -> NoReturn:
        account.seconds = time.monotonic() - started
        sender.send(account)
        sender.close()
        os._exit(0)  # libFuzzer has no other end

    warnings.simplefilter("error")
    campaign(account, *arguments, finish)
    finish()
