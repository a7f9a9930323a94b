"""What makes a RabbitMQ node start in 1.3 s of CPU instead of 3.4.

RabbitMQ looks for its boot steps in *every* module of *every* application it depends on, XML and
the compiler included. So it loads them all, one at a time, and each time the Erlang machine copies
its table of functions. All that it finds is in ``rabbit`` itself. So Erlang is told beforehand that
the other applications have no modules, which are then loaded once they are called, and loads all
that a node needs at once: ``rabbit_modules`` names them. One that is missing there costs 2 ms.

What a node starts to have an epmd is an Erlang machine too. Ours has one and may just tell its
version.
"""

from __future__ import annotations

from pathlib import Path

#: Applications in which there is no boot step; those that run before RabbitMQ begins last.
_OTHERS = (
    "amqp10_common, asn1, aten, compiler, credentials_obfuscation, crypto, cuttlefish, enough,"
    " gen_batch_server, inets, jsx, mnesia, observer_cli, os_mon, osiris, public_key, ra,"
    " rabbit_common, rabbitmq_prelaunch, ranch, recon, seshat, ssl, stdout_formatter,"
    " syntax_tools, syslog, sysmon_handler, systemd, tools, xmerl"
)
_RUNNING = "kernel, sasl, stdlib"
#: An Erlang list: what ``code:all_loaded()`` tells of a node that has served chatd for a while.
_MODULES = Path(__file__).with_name("rabbit_modules")
#: Erlang without a string in double quotes, which would not survive the way to it.
_PREPARE = (
    "Bare = fun(A) ->"
    " {ok, [{application, A, Keys}]} = file:consult(code:where_is_file(lists:concat([A, '.app']))),"
    " {application, A, lists:keyreplace(modules, 1, Keys, {modules, []})} end,"
    f"[ok = application:load(Bare(A)) || A <- [{_OTHERS}]],"
    "app_utils:load_applications([rabbit]),"
    f"ok = application_controller:change_application_data([Bare(A) || A <- [{_RUNNING}]], []),"
    "{ok, Rabbit} = application:get_key(rabbit, modules),"
    f"{{ok, [Others]}} = file:consult('{_MODULES}'),"
    "code:ensure_modules_loaded(Rabbit ++ Others),"
    "os:putenv(atom_to_list('ERL_AFLAGS'), atom_to_list('-version'))."
)
#: Environment variables of ``rabbitmq-server``.
ENV = {"ERL_AFLAGS": f'-eval "{_PREPARE}"'}
