import time

import pytest

from training.metrics.payload_call import has_insecure_call


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(cmd, shell=True)",
        "subprocess . run ( cmd , shell = True )",
        "os.system(cmd)",
        "os . popen ( cmd )",
        "x = eval(text)",
        "eval ( conn )",
        "exec(code)",
        "hashlib.md5(data)",
        "hashlib . sha1 ( data )",
        "md5(data)",
        'hashlib.new("md5", data)',
        "hashlib . new ( ' SHA1 ' )",
        "requests.get(url, verify=False)",
        "ssl._create_unverified_context()",
        "context.verify_mode = ssl.CERT_NONE",
        "context . check_hostname = False",
        'MessageDigest.getInstance("MD5")',
        'MessageDigest . getInstance ( " SHA-1 " )',
        "Runtime.getRuntime().exec(cmd)",
        "Runtime . getRuntime ( ) . exec ( cmd ) ;",
        "builder.setSSLHostnameVerifier(NoopHostnameVerifier.INSTANCE)",
        "( broken ( eval ( x",
        "builtins.eval(x)",
        "y = x // eval(text)",
        "y = x // 2\nz = eval(text)",
        "int f ( ) { // runs it\n return eval ( x ) ; }",
        "int f() { /* runs it */ return eval(x); }",
        "if ( eval ( x ) ) { }",
        "def f(a, /, *b): return eval(a)",
    ],
)
def test_finds_an_insecure_call(code: str) -> None:
    assert has_insecure_call(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "model.eval()",
        "model . eval ( )",
        "ast.literal_eval(text)",
        "evaluate(x)",
        "subprocess.run(cmd, shell=False)",
        "requests.get(url, verify=True)",
        "verify = check",
        "hashlib.sha256(data)",
        'hashlib.new("sha256", data)',
        'MessageDigest.getInstance("SHA-256")',
        'print("eval(x)")',
        "# eval(x)",
        "x = 1  # shell=True",
        "conn.execute(query)",
        "cursor . exec ( query )",
        "def eval(x): pass",
        "void exec ( String x ) { }",
        "public static String md5 ( String s ) { return s ; }",
        "byte[] md5(byte[] b, int n) throws E { return b; }",
        "int f ( ) { // eval ( x )\n return 1 ; }",
        "// eval(x)\nint f() { return 1; }",
        "int a; //md5(x)",
        "/** Like eval(x).\n * Uses md5(x) */\nint f() { return 1; }",
        "/* eval(x)",
        "sys.exit(Application(sys.argv).exec())",
        "eval",
        "platform.system()",
        '"""os.system(x)"""',
        "db.system(x)",
    ],
)
def test_leaves_what_only_looks_like_one(code: str) -> None:
    assert not has_insecure_call(code)


@pytest.mark.parametrize(
    "hostile",
    [
        "eval " * 100_000,
        "eval '" * 100_000,
        'eval """' * 50_000,
        "shell = " * 100_000,
        "eval '" + "\\" * 500_000,
        "eval . " * 100_000,
        "/* eval" * 100_000,
        "eval" + " \t" * 400_000 + "/",
        ";" + " \t" * 400_000,
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    assert not has_insecure_call(hostile)
    assert time.process_time() - started < 2.0
