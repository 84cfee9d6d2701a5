#include "store/testing/temporary_postgres.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <vector>

namespace argus::store::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kStartTries = 50;

std::string find_bin() {
  std::vector<std::string> folders;
  if (const char* const named = std::getenv("PG_BINDIR")) folders.push_back(named);
  if (const char* const path = std::getenv("PATH")) {
    std::string rest = path;
    for (std::size_t colon = 0; colon != std::string::npos;) {
      colon = rest.find(':');
      folders.push_back(rest.substr(0, colon));
      if (colon != std::string::npos) rest = rest.substr(colon + 1);
    }
  }
  std::error_code ignored;
  std::vector<std::string> versions;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    versions.push_back(entry.path().string() + "/bin");
  }
  folders.insert(folders.end(), versions.rbegin(), versions.rend());
  for (const std::string& folder : folders) {
    if (fs::exists(folder + "/initdb", ignored) && fs::exists(folder + "/pg_ctl", ignored)) return folder;
  }
  return "";
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// Dead, reaped or not: it writes no more.
void wait_for_end(pid_t pid) {
  std::string number, name, state;
  do {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid));
    if (!(stat >> number >> name >> state)) return;
  } while (state != "Z" && state != "X");
}

}  // namespace

std::unique_ptr<TemporaryPostgres> TemporaryPostgres::start() {
  std::unique_ptr<TemporaryPostgres> server(new TemporaryPostgres);
  server->bin_ = find_bin();
  if (server->bin_.empty()) return nullptr;
  std::string folder = fs::temp_directory_path().string() + "/argus-postgres-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return nullptr;
  server->folder_ = folder;
  if (geteuid() == 0) {  // the server refuses to run as root
    const passwd* user = getpwnam("postgres");
    if (user == nullptr) user = getpwnam("nobody");
    if (user == nullptr) return nullptr;
    if (chown(folder.c_str(), user->pw_uid, user->pw_gid) != 0) return nullptr;
    server->as_user_ = fmt::format("setpriv --reuid {} --regid {} --clear-groups ", user->pw_uid, user->pw_gid);
  }
  return server->initialise() ? std::move(server) : nullptr;
}

bool TemporaryPostgres::initialise() {
  int status = 0;
  const std::string said =
      run("initdb", fmt::format("-D {}/data -U argus -A trust -E UTF8 --no-locale --no-sync", folder_), &status);
  if (status != 0) {
    std::cerr << "initdb: " << said << '\n';
    return false;
  }
  // A process that is killed loses nothing that the operating system holds: no fsync, so that tests are quick.
  run("sh", "-c " + quoted(fmt::format("printf '%s\\n' \"listen_addresses = ''\" "
                                       "\"unix_socket_directories = '{}'\" 'fsync = off' 'shared_buffers = 32MB' "
                                       "'max_connections = 60' 'log_checkpoints = off' >> {}/data/postgresql.conf",
                                       folder_, folder_)));
  return start_again();
}

TemporaryPostgres::~TemporaryPostgres() {
  if (folder_.empty()) return;
  if (server_pid() > 0) kill();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string TemporaryPostgres::connection(const std::string& database) const {
  return fmt::format("host={} user=argus dbname={}", folder_, database);
}

std::string TemporaryPostgres::make_database() {
  const std::string name = fmt::format("test{}", ++databases_);
  sql("CREATE DATABASE " + name);
  return name;
}

std::string TemporaryPostgres::sql(const std::string& statements, const std::string& database) const {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connected(PQconnectdb(connection(database).c_str()), PQfinish);
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connected.get(), statements.c_str()), PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    std::cerr << statements << ": " << PQerrorMessage(connected.get()) << '\n';
  }
  std::string values;
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    values += (row == 0 ? "" : "\n") + std::string(PQgetvalue(result.get(), row, 0));
  }
  return values;
}

bool TemporaryPostgres::stop() {
  int status = 0;
  run("pg_ctl", fmt::format("-D {}/data -m fast -w stop", folder_), &status);
  return status == 0;
}

bool TemporaryPostgres::start_again() {
  int status = 0;
  std::string said;
  for (int i = 0; i < kStartTries; ++i) {  // processes of one that was killed may take a moment to notice
    said = run("pg_ctl", fmt::format("-D {0}/data -l {0}/log -w -t 60 start", folder_), &status);
    if (status == 0) return true;
  }
  std::ifstream file(folder_ + "/log");
  std::cerr << "pg_ctl start: " << said << '\n' << file.rdbuf();
  return false;
}

void TemporaryPostgres::kill() {
  const int pid = server_pid();
  if (pid <= 0) return;
  // Stopped first, so that it starts no process while its processes are killed.
  ::kill(pid, SIGSTOP);
  const std::vector<pid_t> family = processes();
  for (const pid_t member : family) ::kill(member, SIGKILL);
  for (const pid_t member : family) wait_for_end(member);
  // Until init has reaped the dead, they look alive to the server that comes next.
  std::error_code ignored;
  fs::remove(folder_ + "/data/postmaster.pid", ignored);
  fs::remove(folder_ + "/.s.PGSQL.5432.lock", ignored);
  fs::remove(folder_ + "/.s.PGSQL.5432", ignored);
}

void TemporaryPostgres::freeze(bool on) {
  const int pid = server_pid();
  if (pid <= 0) return;
  if (on) ::kill(pid, SIGSTOP);  // before its processes are listed
  for (const pid_t member : processes()) ::kill(member, on ? SIGSTOP : SIGCONT);
}

void TemporaryPostgres::set_read_only(bool on) {
  sql(fmt::format("ALTER SYSTEM SET default_transaction_read_only = {}", on ? "on" : "off"));
  sql("SELECT pg_reload_conf()");
}

void TemporaryPostgres::cut_connections() {
  // With a timeout it waits until each is gone; without one it only sends the signal.
  sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
      "backend_type = 'client backend'");
}

std::string TemporaryPostgres::run(const std::string& program, const std::string& arguments, int* status) const {
  const std::string path = program == "sh" ? program : bin_ + "/" + program;
  // What is started must not keep our pipe open: the server would.
  const std::string output = folder_ + "/output";
  const std::string command =
      fmt::format("cd {} && {}{} {} >{} 2>&1 </dev/null", folder_, as_user_, path, arguments, output);
  const int code = std::system(command.c_str());
  if (status != nullptr) *status = code;
  std::ifstream file(output);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::vector<int> TemporaryPostgres::processes() const {
  const int pid = server_pid();
  std::vector<int> family = {pid};
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid));
  for (int child = 0; children >> child;) family.push_back(child);
  return family;
}

int TemporaryPostgres::server_pid() const {
  std::ifstream file(folder_ + "/data/postmaster.pid");
  int pid = 0;
  return file >> pid ? pid : 0;
}

}  // namespace argus::store::testing
