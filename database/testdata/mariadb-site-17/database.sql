CREATE TABLE `tabUser` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `enabled` tinyint(4) NOT NULL DEFAULT 1,
  `email` varchar(140) DEFAULT NULL,
  `first_name` varchar(140) DEFAULT NULL,
  `middle_name` varchar(140) DEFAULT NULL,
  `last_name` varchar(140) DEFAULT NULL,
  `full_name` varchar(140) DEFAULT NULL,
  `username` varchar(140) DEFAULT NULL,
  `language` varchar(140) DEFAULT NULL,
  `time_zone` varchar(140) DEFAULT NULL,
  `send_welcome_email` tinyint(4) NOT NULL DEFAULT 1,
  `unsubscribed` tinyint(4) NOT NULL DEFAULT 0,
  `user_image` text DEFAULT NULL,
  `role_profile_name` varchar(140) DEFAULT NULL,
  `module_profile` varchar(140) DEFAULT NULL,
  `home_settings` longtext DEFAULT NULL,
  `gender` varchar(140) DEFAULT NULL,
  `birth_date` date DEFAULT NULL,
  `interest` text DEFAULT NULL,
  `phone` varchar(140) DEFAULT NULL,
  `location` varchar(140) DEFAULT NULL,
  `bio` text DEFAULT NULL,
  `mobile_no` varchar(140) DEFAULT NULL,
  `mute_sounds` tinyint(4) NOT NULL DEFAULT 0,
  `desk_theme` varchar(140) DEFAULT NULL,
  `code_editor_type` varchar(140) DEFAULT 'vscode',
  `search_bar` tinyint(4) NOT NULL DEFAULT 1,
  `notifications` tinyint(4) NOT NULL DEFAULT 1,
  `bulk_actions` tinyint(4) NOT NULL DEFAULT 1,
  `list_sidebar` tinyint(4) NOT NULL DEFAULT 1,
  `view_switcher` tinyint(4) NOT NULL DEFAULT 1,
  `form_sidebar` tinyint(4) NOT NULL DEFAULT 1,
  `form_navigation_buttons` tinyint(4) NOT NULL DEFAULT 1,
  `timeline` tinyint(4) NOT NULL DEFAULT 1,
  `dashboard` tinyint(4) NOT NULL DEFAULT 1,
  `show_absolute_datetime_in_timeline` tinyint(4) NOT NULL DEFAULT 0,
  `new_password` text DEFAULT NULL,
  `logout_all_sessions` tinyint(4) NOT NULL DEFAULT 1,
  `reset_password_key` varchar(140) DEFAULT NULL,
  `last_reset_password_key_generated_on` datetime(6) DEFAULT NULL,
  `last_password_reset_date` date DEFAULT NULL,
  `redirect_url` text DEFAULT NULL,
  `document_follow_notify` tinyint(4) NOT NULL DEFAULT 0,
  `document_follow_frequency` varchar(140) DEFAULT 'Daily',
  `follow_created_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_commented_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_liked_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_assigned_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_shared_documents` tinyint(4) NOT NULL DEFAULT 0,
  `email_signature` longtext DEFAULT NULL,
  `thread_notify` tinyint(4) NOT NULL DEFAULT 1,
  `send_me_a_copy` tinyint(4) NOT NULL DEFAULT 0,
  `allowed_in_mentions` tinyint(4) NOT NULL DEFAULT 1,
  `default_workspace` varchar(140) DEFAULT NULL,
  `default_app` varchar(140) DEFAULT NULL,
  `simultaneous_sessions` int(11) NOT NULL DEFAULT 2,
  `restrict_ip` text DEFAULT NULL,
  `last_ip` varchar(140) DEFAULT NULL,
  `login_after` int(11) NOT NULL DEFAULT 0,
  `user_type` varchar(140) DEFAULT 'System User',
  `last_active` datetime(6) DEFAULT NULL,
  `login_before` int(11) NOT NULL DEFAULT 0,
  `bypass_restrict_ip_check_if_2fa_enabled` tinyint(4) NOT NULL DEFAULT 0,
  `last_login` varchar(140) DEFAULT NULL,
  `last_known_versions` text DEFAULT NULL,
  `api_key` varchar(140) DEFAULT NULL,
  `api_secret` text DEFAULT NULL,
  `onboarding_status` text DEFAULT '{}',
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `username` (`username`),
  UNIQUE KEY `mobile_no` (`mobile_no`),
  UNIQUE KEY `api_key` (`api_key`),
  KEY `last_active` (`last_active`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabUser` VALUES ('Administrator','2026-11-30 22:23:33.627154','2026-11-30 22:24:34.990973','Administrator','Administrator',0,0,1,'admin@example.com','Administrator',NULL,NULL,'Administrator','administrator',NULL,'Asia/Kolkata',1,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',1,1,1,1,1,1,1,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,1,NULL,NULL,2,NULL,'127.0.0.1',0,'System User','2026-11-30 22:30:29.820826',0,0,'2026-11-30 22:30:29.820767',NULL,'18d29ecb3bc0dae','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('alice@example.com','2026-11-30 22:24:26.187514','2026-11-30 22:24:34.938971','Administrator','Administrator',0,0,1,'alice@example.com','Alice',NULL,NULL,'Alice','alice',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'',0,'System User','2026-11-30 22:30:30.218305',0,0,'',NULL,'2c6245becaa0961','***************',NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('bob@example.com','2026-11-30 22:24:32.511417','2026-11-30 22:24:34.952820','Administrator','Administrator',0,0,1,'bob@example.com','Bob',NULL,NULL,'Bob','bob',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'127.0.0.1',0,'System User','2026-11-30 22:34:40.480630',0,0,'2026-11-30 22:34:40.480544','{\"frappe\": {\"title\": \"ERP\", \"description\": \"ERP \\u2014 inventory, orders, invoicing\", \"branch\": \"main\", \"version\": \"17.0.0-dev\"}}','5f200e7119f1d3c','***************',NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('disabled@example.com','2026-11-30 22:24:33.129497','2026-11-30 22:24:34.970565','Administrator','Administrator',0,0,0,'disabled@example.com','Disabled',NULL,NULL,'Disabled','disabled',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'',0,'System User',NULL,0,0,'',NULL,'e6dc60b08079256','***************',NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('eve@example.com','2026-11-30 22:24:34.460870','2026-11-30 22:31:16.401142','Administrator','Administrator',0,0,1,'eve@example.com','Eve',NULL,NULL,'Eve','eve',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,'','127.0.0.1',0,'System User','2026-11-30 22:36:34.833426',0,0,'2026-11-30 22:36:34.833276',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('Guest','2026-11-30 22:23:33.668299','2026-11-30 22:23:33.668299','Administrator','Administrator',0,0,1,'guest@example.com','Guest',NULL,NULL,'Guest','guest',NULL,'Asia/Kolkata',1,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',1,1,1,1,1,1,1,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,1,NULL,NULL,2,NULL,'',0,'Website User',NULL,0,0,'',NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('nokey@example.com','2026-11-30 22:24:33.963281','2026-11-30 22:24:33.963281','Administrator','Administrator',0,0,1,'nokey@example.com','Nokey',NULL,NULL,'Nokey','nokey',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'',0,'System User',NULL,0,0,'',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('o\'brien+api@example.com','2026-11-30 22:24:33.573156','2026-11-30 22:24:34.978538','Administrator','Administrator',0,0,1,'o\'brien+api@example.com','José',NULL,NULL,'José','josé',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'',0,'System User','2026-11-30 22:30:01.053928',0,0,'',NULL,'2ef7336eef15621','***************',NULL,NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('web@example.com','2026-11-30 22:24:32.887719','2026-11-30 22:26:33.790585','Administrator','Administrator',0,0,1,'web@example.com','Web',NULL,NULL,'Web','web',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,0,0,0,0,0,0,'',0,NULL,NULL,NULL,NULL,0,NULL,0,0,0,0,0,NULL,0,0,0,NULL,NULL,0,NULL,'127.0.0.1',0,'Website User','2026-11-30 22:34:46.313840',0,0,'2026-11-30 22:34:46.313784',NULL,'224a7395b026374','***************',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE `__Auth` (
  `doctype` varchar(140) NOT NULL,
  `name` varchar(255) NOT NULL,
  `fieldname` varchar(140) NOT NULL,
  `password` text NOT NULL,
  `encrypted` tinyint(4) NOT NULL DEFAULT 0,
  PRIMARY KEY (`doctype`,`name`,`fieldname`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `__Auth` VALUES ('User','Administrator','api_secret','gAAAAABrDapKdpidKKmMPa7pdeQLiqYOZ0l7sXVwhHvMjh6gp7lfkC5uo1iZ_kDv9A3WcovZ85vnWhIwxhO_3Kib-S1XmmdWJQ==',1);
INSERT INTO `__Auth` VALUES ('User','Administrator','password','$pbkdf2-sha256$29000$pfS.d07JWQtBSClFaM25Vw$cKLWui3RcxiQJMyNm5EYJTMaWs9/AaMTrt7PqjlIj38',0);
INSERT INTO `__Auth` VALUES ('User','alice@example.com','api_secret','gAAAAABrDapKccpTPdEeM1juf8X0jbbsbtnrS11VYVQcZn5e3IbreZWFoREciGw1Wkb3hrgISmqlyCTCRwTmbqg4jOyjvyP61g==',1);
INSERT INTO `__Auth` VALUES ('User','alice@example.com','password','$pbkdf2-sha256$29000$ZEzpPSckpFSKsRYCYKw1Rg$PeLdp8xzeK0bbX.zowTHIGr71F.GR6IIW2EdeXN2BiQ',0);
INSERT INTO `__Auth` VALUES ('User','bob@example.com','api_secret','gAAAAABrDapKlL-eGqc98y18TgE2nyLtEOjQ-ivEF2lq_zZ6F3OfWa2nM2q4CIIYkJKfGUGs7CGBjATS5IsjokMb5J_YpjIrGw==',1);
INSERT INTO `__Auth` VALUES ('User','bob@example.com','password','$pbkdf2-sha256$29000$G.N8z1mLsba2dk6ptdb63w$1zMGbX2PdWvxsUFOX9MbOQ9Q6NDOOsm3iXJKV.K/WMk',0);
INSERT INTO `__Auth` VALUES ('User','disabled@example.com','api_secret','gAAAAABrDapKOfMWvwnVwCPF97euWb-x_pEspSu-_Y27LJdAbfmzDUGbMWIhSFWyfbgEBEV1_HNMR3ilbwHswp4s8Z6bPMoq1A==',1);
INSERT INTO `__Auth` VALUES ('User','eve@example.com','password','$pbkdf2-sha256$29000$tjam1BqDMOY8h3DuXWsNgQ$ExOcL.5Tz.zk6G4WXFLbZB4NwhjfadVb91cvmG8VrHk',0);
INSERT INTO `__Auth` VALUES ('User','o\'brien+api@example.com','api_secret','gAAAAABrDapK4Q_gdAqFkSubSUj9ZjcU3ZzsseG4xxdcRMopDJP3NdQ7c6atcL0bjvTWlE2cYwaV0JskHdh2XX_-RebhVjmthg==',1);
INSERT INTO `__Auth` VALUES ('User','web@example.com','api_secret','gAAAAABrDapKP4QtFtgnEO5RDGX_DcczXw66Pl6f7NjrWsOm65b_ieGxqd7lZgxrq-bAlKmtOP5bHztPNMIj5FHjtIZo-TdSzw==',1);
INSERT INTO `__Auth` VALUES ('User','web@example.com','password','$pbkdf2-sha256$29000$TMmZ8957z9nbWwuBMAYgRA$sn9iKpN1w/uLhOJL3gS1vFXQ6JCgMTC.EQTGmeZMthU',0);
CREATE TABLE `tabOAuth Bearer Token` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `client` varchar(140) DEFAULT NULL,
  `user` varchar(140) NOT NULL DEFAULT '',
  `scopes` text DEFAULT NULL,
  `access_token` varchar(140) DEFAULT NULL,
  `refresh_token` varchar(140) DEFAULT NULL,
  `expiration_time` datetime(6) DEFAULT NULL,
  `expires_in` int(11) NOT NULL DEFAULT 0,
  `status` varchar(140) DEFAULT NULL,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `access_token` (`access_token`),
  KEY `user` (`user`),
  KEY `expiration_time` (`expiration_time`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabOAuth Bearer Token` VALUES ('29a23fff48954ed8cf5efcb1d2dc38','2026-11-30 22:24:35.532739','2026-11-30 22:24:35.532739','Administrator','Administrator',0,0,'pst5lhvsui','disabled@example.com','all openid','29a23fff48954ed8cf5efcb1d2dc38','29a23fff48954ed8cf5efcb1d2dc38-refresh','2066-11-30 22:24:35.532616',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('2d6f2973a9c21c820d549cdb01d1b3','2026-11-30 22:24:35.520483','2026-11-30 22:24:35.520483','Administrator','Administrator',0,0,'pst5lhvsui','bob@example.com','all openid','2d6f2973a9c21c820d549cdb01d1b3','2d6f2973a9c21c820d549cdb01d1b3-refresh','2066-11-30 22:24:35.520336',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('2e73c1cde61ca66944b09369275f80','2026-11-30 22:24:35.525706','2026-11-30 22:24:35.525706','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','2e73c1cde61ca66944b09369275f80','2e73c1cde61ca66944b09369275f80-refresh','2026-11-30 21:24:35.525525',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('30d123a9f0b3ef7c27a3bb4faf1741','2026-11-30 22:24:35.535998','2026-11-30 22:24:35.535998','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid notofclient','30d123a9f0b3ef7c27a3bb4faf1741','30d123a9f0b3ef7c27a3bb4faf1741-refresh','2066-11-30 22:24:35.535886',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('641cc7393fbf7e529b94837c181e81','2026-11-30 22:24:35.488430','2026-11-30 22:24:35.488430','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','641cc7393fbf7e529b94837c181e81','641cc7393fbf7e529b94837c181e81-refresh','2066-11-30 22:24:35.480670',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('9f3dfa979faf6acb5a98db1a1b31c8','2026-11-30 22:24:35.539258','2026-11-30 22:24:35.539258','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','openid','9f3dfa979faf6acb5a98db1a1b31c8','9f3dfa979faf6acb5a98db1a1b31c8-refresh','2066-11-30 22:24:35.539162',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('b0125c8ce26ae0a47c1b9ed54c4bed','2026-11-30 22:24:35.529348','2026-11-30 22:24:35.529348','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','b0125c8ce26ae0a47c1b9ed54c4bed','b0125c8ce26ae0a47c1b9ed54c4bed-refresh','2066-11-30 22:24:35.529248',3600,'Revoked',NULL,NULL,NULL,NULL);
CREATE TABLE `tabOAuth Client` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `client_id` varchar(140) DEFAULT NULL,
  `user` varchar(140) DEFAULT NULL,
  `client_secret` varchar(140) DEFAULT NULL,
  `default_redirect_uri` varchar(140) DEFAULT NULL,
  `skip_authorization` tinyint(4) NOT NULL DEFAULT 0,
  `app_name` varchar(140) DEFAULT NULL,
  `scopes` text DEFAULT 'all openid',
  `redirect_uris` text DEFAULT NULL,
  `client_uri` varchar(140) DEFAULT NULL,
  `software_id` varchar(140) DEFAULT NULL,
  `tos_uri` varchar(140) DEFAULT NULL,
  `contacts` text DEFAULT NULL,
  `logo_uri` varchar(140) DEFAULT NULL,
  `software_version` varchar(140) DEFAULT NULL,
  `policy_uri` varchar(140) DEFAULT NULL,
  `grant_type` varchar(140) DEFAULT NULL,
  `token_endpoint_auth_method` varchar(140) DEFAULT 'Client Secret Basic',
  `response_type` varchar(140) DEFAULT 'Code',
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabOAuth Client` VALUES ('pst5lhvsui','2026-11-30 22:24:35.254836','2026-11-30 22:24:35.254836','Administrator','Administrator',0,0,'pst5lhvsui','Administrator','realclientsecret','http://127.0.0.1/cb',1,'Real','all openid','http://127.0.0.1/cb',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'Authorization Code',NULL,'Code',NULL,NULL,NULL,NULL);
CREATE TABLE `tabHas Role` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `role` varchar(140) DEFAULT NULL,
  `parent` varchar(140) DEFAULT NULL,
  `parentfield` varchar(140) DEFAULT NULL,
  `parenttype` varchar(140) DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `parent` (`parent`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabHas Role` VALUES ('947iaavp5g','2026-11-30 22:23:33.628009','2026-11-30 22:23:35.575098','Administrator','Administrator',0,1,'Administrator','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('948onp099q','2026-11-30 22:23:33.669603','2026-11-30 22:23:33.669603','Administrator','Administrator',0,1,'Guest','Guest','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r1p8bv1p','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,3,'Sales Master Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r28eua4h','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,6,'Maintenance User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r2p2gd21','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,8,'Accounts Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r30ke4bk','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,24,'Desk User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r322v92k','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,22,'Dashboard Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r3dde3v8','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,14,'Knowledge Base Editor','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r4888oh3','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,26,'System Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r4963jt8','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,23,'Website Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r5e4amp8','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,27,'All','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r5ja8su2','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,15,'Marketing Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94r8juav33','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,16,'Inbox User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rafun92n','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,18,'Translator','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rcbdrt3v','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,11,'Accounts User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rek53k2q','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,21,'Workspace Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rh403r3r','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,2,'Maintenance Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rhkbe77c','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,5,'Purchase Master Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rkgq04jc','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,9,'Purchase User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rkqhv104','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,13,'Knowledge Base Contributor','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rmcc52b7','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,10,'Sales User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rnbomc9h','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,4,'Sales Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rnnc6b59','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,20,'Report Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rosqk2u4','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,19,'Script Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rqml9jor','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,25,'Guest','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rs0ubstk','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,12,'Newsletter Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rsdu43g1','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,7,'Purchase Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('94rtn6oqv6','2026-11-30 22:23:33.627154','2026-11-30 22:23:35.575098','Administrator','Administrator',0,17,'Prepared Report User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('9kp2f6ov5c','2026-11-30 22:24:26.187514','2026-11-30 22:24:26.187514','Administrator','Administrator',0,2,'Report Manager','alice@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9kpdpgrp1o','2026-11-30 22:24:26.187514','2026-11-30 22:24:26.187514','Administrator','Administrator',0,1,'System Manager','alice@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9mlbesj98t','2026-11-30 22:24:32.511417','2026-11-30 22:24:32.511417','Administrator','Administrator',0,1,'Website Manager','bob@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9mrl16hvr4','2026-11-30 22:24:33.129497','2026-11-30 22:24:33.129497','Administrator','Administrator',0,1,'System Manager','disabled@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9mv7fognu8','2026-11-30 22:24:33.573156','2026-11-30 22:24:33.573156','Administrator','Administrator',0,1,'Website Manager','o\'brien+api@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9n3equtfcu','2026-11-30 22:24:33.963281','2026-11-30 22:24:33.963281','Administrator','Administrator',0,1,'Website Manager','nokey@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('9n8um808nf','2026-11-30 22:24:34.460870','2026-11-30 22:24:34.460870','Administrator','Administrator',0,1,'Website Manager','eve@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('ash1smk6ks','2026-11-30 22:24:32.887719','2026-11-30 22:26:33.790585','Administrator','Administrator',0,1,'Customer','web@example.com','roles','User');
CREATE TABLE `tabDeleted Document` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `deleted_name` varchar(140) DEFAULT NULL,
  `deleted_doctype` varchar(140) DEFAULT NULL,
  `restored` tinyint(4) NOT NULL DEFAULT 0,
  `new_name` varchar(140) DEFAULT NULL,
  `data` longtext DEFAULT NULL,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=COMPRESSED;
CREATE TABLE `tabSessions` (
  `user` varchar(255) DEFAULT NULL,
  `sid` varchar(255) DEFAULT NULL,
  `sessiondata` longtext DEFAULT NULL,
  `ipaddress` varchar(16) DEFAULT NULL,
  `lastupdate` datetime(6) DEFAULT NULL,
  `status` varchar(20) DEFAULT NULL,
  KEY `sid` (`sid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabSessions` VALUES ('eve@example.com','9d560a615943aa9cb3174ecd109b6cf9b4f2e4cf6b48ec629a814ece','{\"creation\":\"2026-11-30 22:36:34.797202\",\"full_name\":null,\"last_updated\":\"2026-11-30 22:36:34.797125\",\"session_expiry\":\"170:00:00\",\"session_ip\":\"127.0.0.1\",\"user\":\"eve@example.com\",\"user_agent\":null,\"user_type\":\"System User\"}',NULL,'2026-11-30 22:36:34.797296','Active');
CREATE TABLE `tabDefaultValue` (
  `name` varchar(255) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(255) DEFAULT NULL,
  `owner` varchar(255) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `parent` varchar(255) DEFAULT NULL,
  `parentfield` varchar(255) DEFAULT NULL,
  `parenttype` varchar(255) DEFAULT NULL,
  `idx` int(11) NOT NULL DEFAULT 0,
  `defvalue` text DEFAULT NULL,
  `defkey` varchar(140) DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `parent` (`parent`),
  KEY `defaultvalue_parent_defkey_index` (`parent`,`defkey`),
  KEY `defaultvalue_parent_parenttype_index` (`parent`,`parenttype`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabDefaultValue` VALUES ('92156nsiu5','2026-11-30 22:23:26.578542','2026-11-30 22:23:26.578542','Administrator','Administrator',0,'__default','system_defaults','__default',0,'170:00','session_expiry');
INSERT INTO `tabDefaultValue` VALUES ('948d2rk4p9','2026-11-30 22:23:33.678771','2026-11-30 22:23:33.678771','Administrator','Administrator',0,'Guest','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('948fb3ofk0','2026-11-30 22:23:33.651176','2026-11-30 22:23:33.651176','Administrator','Administrator',0,'Administrator','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9mhmqfj6k5','2026-11-30 22:24:32.134275','2026-11-30 22:24:32.134275','Administrator','Administrator',0,'alice@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9mnoon58cr','2026-11-30 22:24:32.754718','2026-11-30 22:24:32.754718','Administrator','Administrator',0,'bob@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9mqmg5bhqi','2026-11-30 22:24:33.042690','2026-11-30 22:24:33.042690','Administrator','Administrator',0,'web@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9mtd1n4rmr','2026-11-30 22:24:33.353886','2026-11-30 22:24:33.353886','Administrator','Administrator',0,'disabled@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9n144840ip','2026-11-30 22:24:33.781678','2026-11-30 22:24:33.781678','Administrator','Administrator',0,'o\'brien+api@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9n6dibo55t','2026-11-30 22:24:34.218895','2026-11-30 22:24:34.218895','Administrator','Administrator',0,'nokey@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
INSERT INTO `tabDefaultValue` VALUES ('9na38ors9u','2026-11-30 22:24:34.633228','2026-11-30 22:24:34.633228','Administrator','Administrator',0,'eve@example.com','system_defaults','__default',0,'Asia/Kolkata','time_zone');
CREATE TABLE `tabSingles` (
  `doctype` varchar(255) DEFAULT NULL,
  `field` varchar(255) DEFAULT NULL,
  `value` longtext DEFAULT NULL,
  KEY `singles_doctype_field_index` (`doctype`,`field`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabSingles` VALUES ('System Settings','session_expiry','170:00');
INSERT INTO `tabSingles` VALUES ('System Settings','time_zone',NULL);
CREATE TABLE `tabRole` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `role_name` varchar(140) DEFAULT NULL,
  `home_page` varchar(140) DEFAULT NULL,
  `restrict_to_domain` varchar(140) DEFAULT NULL,
  `disabled` tinyint(4) NOT NULL DEFAULT 0,
  `is_custom` tinyint(4) NOT NULL DEFAULT 0,
  `desk_access` tinyint(4) NOT NULL DEFAULT 1,
  `two_factor_auth` tinyint(4) NOT NULL DEFAULT 0,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `role_name` (`role_name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabRole` VALUES ('Accounts Manager','2026-11-30 22:22:54.151173','2026-11-30 22:22:54.151173','Administrator','Administrator',0,0,'Accounts Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Accounts User','2026-11-30 22:22:54.121075','2026-11-30 22:22:54.121075','Administrator','Administrator',0,0,'Accounts User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Administrator','2026-11-30 22:21:34.299459','2026-11-30 22:21:34.299459','Administrator','Administrator',0,0,'Administrator',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('All','2026-11-30 22:21:34.106629','2026-11-30 22:21:34.106629','Administrator','Administrator',0,0,'All',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Customer','2026-11-30 22:26:32.307566','2026-11-30 22:26:32.307566','Administrator','Administrator',0,0,'Customer',NULL,NULL,0,0,0,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Dashboard Manager','2026-11-30 22:21:40.854085','2026-11-30 22:21:40.854085','Administrator','Administrator',0,0,'Dashboard Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Desk User','2026-11-30 22:21:34.243538','2026-11-30 22:21:34.243538','Administrator','Administrator',0,0,'Desk User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Guest','2026-11-30 22:21:34.199314','2026-11-30 22:21:34.199314','Administrator','Administrator',0,0,'Guest',NULL,NULL,0,0,0,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Inbox User','2026-11-30 22:22:19.271813','2026-11-30 22:22:19.271813','Administrator','Administrator',0,0,'Inbox User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Knowledge Base Contributor','2026-11-30 22:22:36.527136','2026-11-30 22:22:36.527136','Administrator','Administrator',0,0,'Knowledge Base Contributor',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Knowledge Base Editor','2026-11-30 22:22:36.465576','2026-11-30 22:22:36.465576','Administrator','Administrator',0,0,'Knowledge Base Editor',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Maintenance Manager','2026-11-30 22:23:19.241922','2026-11-30 22:23:19.241922','Administrator','Administrator',0,0,'Maintenance Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Maintenance User','2026-11-30 22:23:19.189247','2026-11-30 22:23:19.189247','Administrator','Administrator',0,0,'Maintenance User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Marketing Manager','2026-11-30 22:22:33.198933','2026-11-30 22:22:33.198933','Administrator','Administrator',0,0,'Marketing Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Newsletter Manager','2026-11-30 22:22:38.198405','2026-11-30 22:22:38.198405','Administrator','Administrator',0,0,'Newsletter Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Prepared Report User','2026-11-30 22:22:10.289609','2026-11-30 22:22:10.289609','Administrator','Administrator',0,0,'Prepared Report User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase Manager','2026-11-30 22:23:19.183705','2026-11-30 22:23:19.183705','Administrator','Administrator',0,0,'Purchase Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase Master Manager','2026-11-30 22:23:19.197257','2026-11-30 22:23:19.197257','Administrator','Administrator',0,0,'Purchase Master Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase User','2026-11-30 22:22:54.145740','2026-11-30 22:22:54.145740','Administrator','Administrator',0,0,'Purchase User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Report Manager','2026-11-30 22:21:49.684598','2026-11-30 22:21:49.684598','Administrator','Administrator',0,0,'Report Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales Manager','2026-11-30 22:23:19.222565','2026-11-30 22:23:19.222565','Administrator','Administrator',0,0,'Sales Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales Master Manager','2026-11-30 22:23:19.236801','2026-11-30 22:23:19.236801','Administrator','Administrator',0,0,'Sales Master Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales User','2026-11-30 22:22:54.132551','2026-11-30 22:22:54.132551','Administrator','Administrator',0,0,'Sales User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Script Manager','2026-11-30 22:21:53.159606','2026-11-30 22:21:53.159606','Administrator','Administrator',0,0,'Script Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('System Manager','2026-11-30 22:21:34.162744','2026-11-30 22:21:34.162744','Administrator','Administrator',0,0,'System Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Translator','2026-11-30 22:21:58.679983','2026-11-30 22:21:58.679983','Administrator','Administrator',0,0,'Translator',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Website Manager','2026-11-30 22:21:38.328204','2026-11-30 22:21:38.328204','Administrator','Administrator',0,0,'Website Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Workspace Manager','2026-11-30 22:21:47.678535','2026-11-30 22:21:47.678535','Administrator','Administrator',0,0,'Workspace Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
