// An HTTP server that answers byte for byte what it was told to, also what no server should.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace argus::client::testing {

/// One reply a request, in order; requests beyond them are answered 500. One connection at a time is served.
class ScriptedServer {
 public:
  struct Reply {
    std::string bytes;          ///< the whole response; empty: none
    bool closes = false;        ///< the connection ends behind it
    bool holds = false;         ///< the connection stays open and silent until the client or the server goes
    bool reads_request = true;  ///< false: closes as soon as somebody connects
  };
  struct Request {
    std::string head, body;
    int connection = 0;  ///< counted from 1
  };

  ScriptedServer() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~ScriptedServer() {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
      if (connection_ >= 0) ::shutdown(connection_, SHUT_RDWR);
      ::shutdown(listener_, SHUT_RDWR);
    }
    thread_.join();
    ::close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }

  void answer(Reply reply) {
    const std::lock_guard lock(mutex_);
    replies_.push_back(std::move(reply));
  }
  /// A regular response of that status and JSON body.
  void answer(int status, const std::string& body, const std::string& headers = "") {
    answer({response(status, body, headers)});
  }
  static std::string response(int status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + std::to_string(status) +
           " Word\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
           headers + "\r\n" + body;
  }

  std::vector<Request> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (int number = 1;; ++number) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      {
        const std::lock_guard lock(mutex_);
        connection_ = fd;
        if (is_stopping_) ::shutdown(fd, SHUT_RDWR);
      }
      converse(fd, number);
      const std::lock_guard lock(mutex_);
      connection_ = -1;
      ::close(fd);
    }
  }

  void converse(int fd, int number) {
    std::string in;
    while (true) {
      if (!replies_are_empty() && !front().reads_request) {
        take();
        return;
      }
      Request request;
      request.connection = number;
      if (!read_request(fd, in, request)) return;
      Reply reply{response(500, "{}")};
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
        if (!replies_.empty()) {
          reply = replies_.front();
          replies_.pop_front();
        }
      }
      for (std::string_view rest = reply.bytes; !rest.empty();) {
        const ssize_t n = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (n <= 0) return;
        rest.remove_prefix(static_cast<std::size_t>(n));
      }
      if (reply.closes) return;
      if (reply.holds) {
        char bytes[256];
        while (::recv(fd, bytes, sizeof bytes, 0) > 0) {
        }
        return;
      }
    }
  }

  bool read_request(int fd, std::string& in, Request& request) {
    std::size_t head_end = 0;
    while ((head_end = in.find("\r\n\r\n")) == std::string::npos) {
      if (!more(fd, in)) return false;
    }
    request.head = in.substr(0, head_end + 2);
    const std::size_t at = request.head.find("Content-Length: ");
    const std::size_t length = at == std::string::npos ? 0 : std::strtoull(&request.head[at + 16], nullptr, 10);
    while (in.size() < head_end + 4 + length) {
      if (!more(fd, in)) return false;
    }
    request.body = in.substr(head_end + 4, length);
    in.erase(0, head_end + 4 + length);
    return true;
  }
  static bool more(int fd, std::string& in) {
    char bytes[65536];
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
    if (n > 0) in.append(bytes, static_cast<std::size_t>(n));
    return n > 0;
  }

  bool replies_are_empty() {
    const std::lock_guard lock(mutex_);
    return replies_.empty();
  }
  Reply front() {
    const std::lock_guard lock(mutex_);
    return replies_.front();
  }
  void take() {
    const std::lock_guard lock(mutex_);
    replies_.pop_front();
  }

  int listener_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::deque<Reply> replies_;
  std::vector<Request> requests_;
  int connection_ = -1;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace argus::client::testing
