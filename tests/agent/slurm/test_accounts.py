"""Accounts and limits by sacctmgr and sshare: what is read, what is said, what is no answer."""

from __future__ import annotations

import pytest

from meyrin.agent.slurm.accounts import CommandAccounts
from meyrin.agent.slurm.command import Done
from meyrin.agent.slurm.limits import Change, Stage
from meyrin.domain.errors import Failed, Unreachable

# as Slurm 22.05.8 prints them
ASSOCIATIONS = """\
root|||||
root|root||||
astro||root|cpu=20||
astro|mtb1||||
meyrin||root|||
m_lab||meyrin|cpu=77,gres/gpu:h100=123|0|
m_lab|mtb1||||
m_lab|mtb2||||
"""
SHARES = """\
root||cpu=195,mem=94958,gres/gpu=323,gres/gpu:h100=323
 root|root|cpu=0,gres/gpu:h100=0
 meyrin||cpu=3,gres/gpu:h100=7
  m_lab||cpu=3,gres/gpu:h100=7
  m_lab|mtb1|cpu=3,gres/gpu:h100=7
"""
TRES = "cpu|\nmem|\nfs|disk\ngres|gpu\ngres|gpu:h100\n"


class Commands:
    def __init__(self, **answers):
        self.answers = {
            "config": "Configuration data\nClusterName             = alps\n",
            "assoc": ASSOCIATIONS, "sshare": SHARES, "tres": TRES,
        } | answers  # fmt: skip
        self.said = []

    def __call__(self, command, _given, _environment):
        self.said.append(list(command))
        what = next((each for each in self.answers if each in command or each == command[0]), "")
        answer = self.answers.get(what, "")
        return answer if isinstance(answer, Done) else Done(0, answer, "")


def accounts(commands):
    return CommandAccounts(commands, {"PATH": "/bin"})


def test_what_is_seen():
    seen = accounts(Commands()).look()
    assert sorted(seen) == ["astro", "m_lab", "meyrin", "root"]
    lab = seen["m_lab"]
    assert (lab.parent, lab.users, lab.closed) == ("meyrin", {"mtb1", "mtb2"}, True)
    assert lab.limits_min == {"cpu": 77, "gres/gpu:h100": 123}
    assert lab.used_min == {"cpu": 3, "gres/gpu:h100": 7}
    assert accounts(Commands()).resources() == {
        "cpu",
        "mem",
        "fs/disk",
        "gres/gpu",
        "gres/gpu:h100",
    }


def test_a_cluster_of_thousands_of_accounts_is_seen_in_words_that_linux_takes():
    heads = [f"lab{n:05}-{'x' * 32}" for n in range(4000)]
    rows = [
        line
        for name in heads
        for line in (f"{name}||root|||", *[f"{name}|u{n}||||" for n in range(9)])
    ]
    shares = "".join(f" {name}||cpu={n}\n" for n, name in enumerate(heads))
    commands = Commands(assoc="\n".join(["root|||||", *rows]), sshare=f"root||\n{shares}")
    seen = accounts(commands).look()
    last = seen[heads[-1]]
    assert (len(last.users), last.used_min, len(seen)) == (9, {"cpu": 3999}, 4001)
    assert max(len(word) for said in commands.said for word in said) < 128 * 1024


@pytest.mark.parametrize(
    "answers",
    [
        {"assoc": ""},
        {"assoc": "astro||root|||\n"},
        {"assoc": Done(1, "", "sacctmgr: error: slurmdbd: Unable to connect")},
        {"assoc": "root||\n"},
        {"sshare": ""},
        {"sshare": Done(1, "", "error")},
        {"config": Done(1, "", "slurm_load_ctl_conf error: Unable to contact slurm controller")},
    ],
)
def test_an_empty_or_odd_look_is_no_look(answers):
    with pytest.raises(Unreachable):
        accounts(Commands(**answers)).look()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("account", "add account m_lab cluster=alps parent=meyrin"),
        ("user", "add user mtb1 account=m_lab cluster=alps"),
        ("limit", "modify account where name=m_lab cluster=alps set GrpTRESMins=cpu=1,node=2"),
        ("close", "modify account where name=m_lab cluster=alps set GrpSubmitJobs=0"),
        ("open", "modify account where name=m_lab cluster=alps set GrpSubmitJobs=-1"),
        ("remove", "remove user where name=mtb1 account=m_lab cluster=alps"),
    ],
)
def test_what_is_said(kind, words):
    commands = Commands()
    user = "mtb1" if kind in ("user", "remove") else ""
    change = Change(Stage.LIMITS, kind, "m_lab", user, {"node": 2, "cpu": 1})
    accounts(commands).mend(change, "meyrin")
    assert commands.said[-1][:2] == ["sacctmgr", "--immediate"]
    assert " ".join(commands.said[-1][2:]).startswith(words)


def test_what_is_there_already_is_no_failure():
    answer = Done(1, " Nothing new added.\n", "")
    accounts(Commands(add=answer)).mend(Change(Stage.ACCOUNTS, "account", "m_lab"), "meyrin")


def test_a_no_is_told_in_slurms_words():
    answer = Done(1, " Adding Account(s)\n", " Problem adding accounts: Access/permission denied\n")
    with pytest.raises(Failed, match="permission denied"):
        accounts(Commands(add=answer)).mend(Change(Stage.ACCOUNTS, "account", "m_lab"), "meyrin")


@pytest.mark.parametrize("name", ["a b", "x;y", "--all", "a,b", "a=b", "ü"])
def test_a_word_that_is_no_name_is_never_said(name):
    commands = Commands()
    with pytest.raises(Failed):
        accounts(commands).mend(Change(Stage.USERS, "user", "m_lab", name), "meyrin")
    assert not any("add" in said for said in commands.said)
