"""What makes a RabbitMQ node start in 1.1 s of CPU instead of 3.4.

RabbitMQ looks for its boot steps in *every* module of *every* application it depends on, XML and
the compiler included. So it loads them all, one at a time, and each time the Erlang machine copies
its table of functions. All that it finds is in ``rabbit`` itself. So Erlang is told beforehand that
the other applications have no modules, which are then loaded once they are called, and loads all
that a node needs at once, without a look into the folders of all plugins for each: it is named in
``rabbit_modules``, where a module that is missing costs 2 ms.

What a node starts to have an epmd is an Erlang machine too. Ours has one and may just tell its
version.
"""

from __future__ import annotations

from pathlib import Path

#: Applications in which there is no boot step; those that run before RabbitMQ begins last. Those of
#: which most is loaded first.
_OTHERS = (
    "rabbit_common, compiler, ra, mnesia, ranch, rabbitmq_prelaunch, osiris, syslog, aten,"
    " sysmon_handler, systemd, credentials_obfuscation, seshat, amqp10_common, syntax_tools,"
    " gen_batch_server, crypto, enough, os_mon, ssl, public_key, cuttlefish, asn1, inets, jsx,"
    " observer_cli, recon, stdout_formatter, tools, xmerl"
)
_RUNNING = "stdlib, kernel, sasl"
#: An Erlang list: what ``code:all_loaded()`` tells of a node that has served chatd for a while.
_MODULES = Path(__file__).with_name("rabbit_modules")
#: Erlang without a string in double quotes, which would not survive the way to it. Another RabbitMQ
#: may have other applications; then nothing is prepared, and it starts as it always does.
_PREPARE = (
    "try Bare = fun(A) ->"
    " {ok, [{application, A, Keys}]} = file:consult(code:where_is_file(lists:concat([A, '.app']))),"
    " {application, A, lists:keyreplace(modules, 1, Keys, {modules, []})} end,"
    f"Others = [Bare(A) || A <- [{_OTHERS}]],"
    "[ok = application:load(Spec) || Spec <- Others],"
    "app_utils:load_applications([rabbit]),"
    "{ok, [[Given] | _]} = init:get_argument(config),"
    "{ok, [Config]} = file:consult(lists:concat([Given, '.config'])),"
    f"ok = application_controller:change_application_data([Bare(A) || A <- [{_RUNNING}]], Config),"
    "Path = code:get_path(),"
    f"code:set_path([code:lib_dir(A, ebin) || A <- [rabbit, {_RUNNING}, {_OTHERS}]]),"
    "{ok, Rabbit} = application:get_key(rabbit, modules),"
    f"{{ok, [More]}} = file:consult('{_MODULES}'),"
    "code:ensure_modules_loaded(Rabbit ++ More), code:set_path(Path),"
    "os:putenv(atom_to_list('ERL_AFLAGS'), atom_to_list('-version'))"
    " catch error:_ -> ok end."
)
#: Environment variables of ``rabbitmq-server``.
ENV = {"ERL_AFLAGS": f'-eval "{_PREPARE}"'}
